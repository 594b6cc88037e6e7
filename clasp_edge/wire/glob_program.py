"""From a pattern with a wildcard inside a segment to a program of its glob, which pattern.py runs.

Responsible for what such a pattern may contain (wire.md 4.1) and for how much of it. Compiled like pattern.py.
"""

from __future__ import annotations

from clasp_edge.wire.errors import PatternError

SLASH = 0x2F

MAX_BRACE_DEPTH = 10
"""How deep `{..{..}..}` may nest; the limit of the glob dialect clients know (router.md 4.2)."""

MAX_WILDCARDS_INSIDE = 16
"""`*` inside segments of one pattern (`zone5*`, `*-left-*`): the work of matching grows with them, and nobody names
devices by more than a few."""

MAX_SETS = 64
"""`?`, `[...]` and alternatives of `{...}` in one pattern with a wildcard inside a segment."""

TOO_MUCH = "too much to match"

# Instructions of a glob program. Each takes three bytes: the code, then an argument, low byte first. All jumps go
# forward, so one pass over the program in order finds every instruction that is reachable without taking a byte.
BYTE = 0  # take the byte `argument`
CLASS = 1  # take a byte of the set number `argument`
STAR = 2  # take any number of bytes that are not a slash
ANYTHING = 3  # take any number of bytes
FORK = 4  # go on here and at `argument`
JUMP = 5  # go on at `argument`


def compile_glob(text: bytes) -> tuple[bytes, bytes]:
    """Translate a whole partial pattern into a glob program and its byte sets, 32 bytes each.

    Raises PatternError for an unclosed bracket or brace, braces nested too deep, and a backslash at the end. (Upstream
    refuses those as well, by way of a regular expression that it never uses, wire.md 4.1.)
    """
    program = bytearray()
    classes: dict[bytes, int] = {}
    open_braces: list[_Braces] = []
    at = 0
    while at < len(text):
        mark = text[at : at + 1]
        at += 1
        if mark == b"*":
            run_end = at
            while text[run_end : run_end + 1] == b"*":
                run_end += 1
            whole_segment = run_end - at == 1 and text[at - 2 : at - 1] == b"/"
            at = run_end
            if whole_segment and at == len(text):
                _emit(program, ANYTHING)
            elif whole_segment and text[at : at + 1] == b"/":
                # `**/` as a whole may be absent, so that `/a/**/b` matches `/a/b`.
                _emit(program, FORK, len(program) // 3 + 3)
                _emit(program, ANYTHING)
                _emit(program, BYTE, SLASH)
                at += 1
            else:
                _emit(program, STAR)
        elif mark == b"?":
            _emit(program, CLASS, classes.setdefault(_byte_set([], negated=True), len(classes)))
        elif mark == b"[":
            members, at = _parse_class(text, at)
            _emit(program, CLASS, classes.setdefault(members, len(classes)))
        elif mark == b"{":
            if len(open_braces) == MAX_BRACE_DEPTH:
                raise PatternError(f"invalid pattern: braces nested deeper than {MAX_BRACE_DEPTH}")
            open_braces.append(_Braces())
            open_braces[-1].begin_alternative(program)
        elif mark == b"," and open_braces:
            open_braces[-1].end_alternative(program)
            open_braces[-1].begin_alternative(program)
        elif mark == b"}" and open_braces:
            open_braces.pop().close(program)
        else:
            if mark == b"\\":
                mark = text[at : at + 1]
                at += 1
                if not mark:
                    raise PatternError("invalid pattern: nothing follows the last '\\'")
            _emit(program, BYTE, mark[0])
    if open_braces:
        raise PatternError("invalid pattern: '{' is not closed")
    return bytes(program), b"".join(classes)


def check_program(program: bytes, segments: tuple[bytes, ...]) -> int:
    """Refuse what takes more work than any honest pattern; return where the last `*` within a segment is."""
    operations = program[::3]
    whole = segments.count(b"*")
    if operations.count(STAR) - whole > MAX_WILDCARDS_INSIDE:
        raise PatternError(f"invalid pattern: {TOO_MUCH}, at most {MAX_WILDCARDS_INSIDE} '*' inside segments")
    if operations.count(CLASS) + operations.count(FORK) > MAX_SETS:
        raise PatternError(f"invalid pattern: {TOO_MUCH}, at most {MAX_SETS} '?', '[...]' and alternatives")
    last = operations.rfind(bytes((STAR,)))
    # With `/**` at the end, what follows the last star has no fixed length.
    return -1 if ANYTHING in operations else last


def is_straight(program: bytes) -> bool:
    """Tell whether a program has one path: no braces, and `**` only at the end."""
    operations = program[::3]
    return FORK not in operations and JUMP not in operations and ANYTHING not in operations[:-1]


class _Braces:
    """One `{a,b,c}` under translation: the jumps whose targets are not known yet."""

    def __init__(self) -> None:
        self.fork = 0
        self.ends: list[int] = []

    def begin_alternative(self, program: bytearray) -> None:
        """Start an alternative: a fork before it leads to the one behind it."""
        self.fork = len(program) // 3
        _emit(program, FORK)

    def end_alternative(self, program: bytearray) -> None:
        """End an alternative that another one follows."""
        self.ends.append(len(program) // 3)
        _emit(program, JUMP)
        _aim(program, self.fork, len(program) // 3)

    def close(self, program: bytearray) -> None:
        """End the last alternative, whose fork has nowhere else to go, and join all of them here."""
        _aim(program, self.fork, self.fork + 1)
        for end in self.ends:
            _aim(program, end, len(program) // 3)


def _emit(program: bytearray, operation: int, argument: int = 0) -> None:
    program += bytes((operation, argument & 0xFF, argument >> 8))


def _aim(program: bytearray, instruction: int, target: int) -> None:
    program[3 * instruction + 1] = target & 0xFF
    program[3 * instruction + 2] = target >> 8


def _parse_class(text: bytes, at: int) -> tuple[bytes, int]:
    """Read the bracket expression whose `[` is just before `at`; return its byte set and where the text goes on.

    Byte-wise. `!` or `^` in front negates, `]` in front is a member, `-` between two bytes is a range.
    """
    negated = text[at : at + 1] in (b"!", b"^") and at < len(text)
    if negated:
        at += 1
    ranges: list[tuple[int, int]] = []
    while at < len(text) and (not ranges or text[at : at + 1] != b"]"):
        low, at = _class_member(text, at)
        high = low
        if text[at : at + 1] == b"-" and text[at + 1 : at + 2] not in (b"", b"]"):
            high, at = _class_member(text, at + 1)
        ranges.append((low, high))
    if at >= len(text):
        raise PatternError("invalid pattern: '[' is not closed")
    return _byte_set(ranges, negated), at + 1


def _class_member(text: bytes, at: int) -> tuple[int, int]:
    if text[at : at + 1] == b"\\":
        at += 1
    if at >= len(text):
        raise PatternError("invalid pattern: '[' is not closed")
    return text[at], at + 1


def _byte_set(ranges: list[tuple[int, int]], negated: bool) -> bytes:
    """Give the set as 256 bits. A slash is never in it: nothing but `**` crosses a segment."""
    members = bytearray(32)
    for low, high in ranges:
        for value in range(low, high + 1):
            members[value >> 3] |= 1 << (value & 7)
    if negated:
        for at in range(len(members)):
            members[at] ^= 0xFF
    members[SLASH >> 3] &= ~(1 << (SLASH & 7))
    return bytes(members)
