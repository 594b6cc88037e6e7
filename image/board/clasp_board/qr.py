"""A short text as a QR code (ISO/IEC 18004), for a screen that a phone is held against.

Bytes only, versions 1 to 5 with the least correction (L), which is one block each: up to 106 bytes. Knows no screen but
for `rows`, which draws two modules one above the other with a character.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

DATA_BYTES = {1: 19, 2: 34, 3: 55, 4: 80, 5: 108}
CORRECTION_BYTES = {1: 7, 2: 10, 3: 15, 4: 20, 5: 26}
"""Of the 9th table of the standard, for the level L."""

BYTES_MODE = 0b0100
LEVEL_L = 0b01
PADDING = (0xEC, 0x11)
FORMAT_GENERATOR, FORMAT_MASK = 0b101_0011_0111, 0b101_0100_0001_0010
FIELD = 0x11D
"""The polynomial of the field with 256 elements."""

MASKS = (
    lambda y, x: (y + x) % 2, lambda y, x: y % 2, lambda y, x: x % 3, lambda y, x: (y + x) % 3,
    lambda y, x: (y // 2 + x // 3) % 2, lambda y, x: y * x % 2 + y * x % 3,
    lambda y, x: (y * x % 2 + y * x % 3) % 2, lambda y, x: ((y + x) % 2 + y * x % 3) % 2,
)  # fmt: skip
"""A module is turned where this is 0."""

QUIET = 2
"""Modules around it. The standard wants 4; a screen has 25 lines, and phones read it so."""

Modules = list[list[int]]


def encode(text: str, mask: int | None = None) -> Modules:
    """The code's rows, 1 for dark; without `mask` the one that is easiest to read. Raises ValueError for a text that is
    too long."""
    data = text.encode()
    version = next((v for v, room in DATA_BYTES.items() if len(data) + 2 <= room), 0)
    if not version:
        raise ValueError("the text is too long for a QR code")
    bits = _bits(_with_correction(data, version))
    masks = range(len(MASKS)) if mask is None else (mask,)
    return min((_drawn(version, bits, one) for one in masks), key=_unevenness)


def rows(modules: Modules) -> list[str]:
    """As lines of text for light characters on a dark screen."""
    width = len(modules) + 2 * QUIET
    light = [[0] * width for _ in range(QUIET)]
    every = [*light, *([*[0] * QUIET, *row, *[0] * QUIET] for row in modules), *light]
    if len(every) % 2:
        every.append([0] * width)
    return [
        "".join("█▀▄ "[2 * above + below] for above, below in zip(every[y], every[y + 1], strict=True))
        for y in range(0, len(every), 2)
    ]


def _with_correction(data: bytes, version: int) -> bytes:
    room = DATA_BYTES[version]
    # The mode has four bits, so everything behind it stands half a byte later.
    number = (BYTES_MODE << 8 | len(data)) << 8 * len(data) | int.from_bytes(data, "big")
    whole = (number << 4).to_bytes(len(data) + 2, "big")
    whole += bytes(PADDING[n % 2] for n in range(room - len(whole)))
    return whole + _remainder(whole, CORRECTION_BYTES[version])


def _remainder(data: bytes, degree: int) -> bytes:
    """Reed and Solomon's."""
    powers, logs = [1], {1: 0}
    for n in range(1, 255):
        value = powers[-1] << 1
        powers.append(value ^ FIELD if value > 255 else value)
        logs[powers[-1]] = n

    def times(a: int, b: int) -> int:
        return powers[(logs[a] + logs[b]) % 255] if a and b else 0

    generator = [1]
    for n in range(degree):
        shifted = [*generator, 0]
        generator = [a ^ b for a, b in zip(shifted, [0, *(times(c, powers[n]) for c in generator)], strict=True)]
    rest = [*data, *[0] * degree]
    for at in range(len(data)):
        rest[at : at + degree + 1] = [
            a ^ times(rest[at], b) for a, b in zip(rest[at : at + degree + 1], generator, strict=True)
        ]
    return bytes(rest[-degree:])


def _bits(data: bytes) -> list[int]:
    return [byte >> n & 1 for byte in data for n in range(7, -1, -1)]


def _drawn(version: int, bits: list[int], mask: int) -> Modules:
    size = 17 + 4 * version
    modules = [[0] * size for _ in range(size)]
    fixed = [[False] * size for _ in range(size)]

    def put(y: int, x: int, dark: bool) -> None:
        if 0 <= y < size and 0 <= x < size:
            modules[y][x], fixed[y][x] = int(dark), True

    for n in range(size):
        put(6, n, n % 2 == 0)
        put(n, 6, n % 2 == 0)
    corners = [(3, 3), (3, size - 4), (size - 4, 3)]
    for middle_y, middle_x in corners:
        for y in range(-4, 5):
            for x in range(-4, 5):
                put(middle_y + y, middle_x + x, max(abs(y), abs(x)) not in (2, 4))
    if version > 1:
        for y in range(-2, 3):
            for x in range(-2, 3):
                put(size - 7 + y, size - 7 + x, max(abs(y), abs(x)) != 1)
    _put_format(put, size, mask)
    waiting = iter(bits)
    for turn, right in enumerate([*range(size - 1, 6, -2), 5, 3, 1]):  # up and down in turn, around the column of marks
        for y in range(size) if turn % 2 else range(size - 1, -1, -1):
            for x in (right, right - 1):
                if not fixed[y][x]:
                    modules[y][x] = next(waiting, 0) ^ (not MASKS[mask](y, x))
    return modules


def _put_format(put: Callable[[int, int, bool], None], size: int, mask: int) -> None:
    """Level and mask, twice."""
    value = rest = LEVEL_L << 3 | mask
    for _ in range(10):
        rest = (rest << 1) ^ (rest >> 9) * FORMAT_GENERATOR
    word = (value << 10 | rest) ^ FORMAT_MASK
    for n in range(15):
        dark = bool(word >> n & 1)
        put(*((n, 8) if n < 6 else (n + 1, 8) if n < 8 else (8, 7) if n == 8 else (8, 14 - n)), dark)
        put(*((8, size - 1 - n) if n < 8 else (size - 15 + n, 8)), dark)
    put(size - 8, 8, True)


def _unevenness(modules: Modules) -> int:
    """How hard it is to read: long runs of one colour, squares of one colour, more of one colour than of the other."""
    size, points = len(modules), 0
    for line in [*modules, *map(list, zip(*modules, strict=True))]:
        for _, run in groupby(line):
            length = len(list(run))
            points += max(length - 2, 0) if length >= 5 else 0
    for y in range(size - 1):
        for x in range(size - 1):
            points += 3 * (sum(modules[y][x : x + 2] + modules[y + 1][x : x + 2]) in (0, 4))
    dark = sum(map(sum, modules))
    return points + 10 * (abs(20 * dark - 10 * size * size) // (size * size))
