"""Mutations that know lengths: most inputs stay well framed, so that a fault reaches the code behind the framing."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

LENGTHS = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)
BYTES = (0, 1, 2, 7, 8, 9, 10, 11, 0x0F, 0x10, 0x1F, 0x20, 0x21, 0x2F, 0x40, 0x7F, 0x80, 0xC0, 0xFE, 0xFF)
LONGEST = 66_000


def _below(chance: random.Random, end: int) -> int:
    # Three times as fast as randrange, which is most of what a mutation costs.
    return int(chance.random() * end)


def _one(chance: random.Random, among: Sequence[T]) -> T:
    return among[int(chance.random() * len(among))]


def mutated(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """`data` with a few changes; a piece of one of the `others` may be put into it."""
    found = bytearray(data)
    for _ in range(_one(chance, (1, 1, 1, 2, 2, 3, 5))):
        at = _below(chance, len(found) + 1)
        match _below(chance, 10):
            case 0 | 1:
                if at < len(found):
                    found[at] = _one(chance, BYTES)
            case 2:
                if at < len(found):
                    found[at] ^= 1 << _below(chance, 8)
            case 3:
                del found[at:]
            case 4:
                del found[at : at + 1 + _below(chance, 8)]
            case 5:
                found[at:at] = bytes(_one(chance, BYTES) for _ in range(1 + _below(chance, 8)))
            case 6:  # a length that is not what comes
                found[at : at + 2] = _one(chance, LENGTHS).to_bytes(2, "big")
            case 7:
                found[at : at + 2] = (max(0, min(0xFFFF, len(found) - at + _below(chance, 7) - 3))).to_bytes(2, "big")
            case 8:
                piece = _one(chance, others)
                begin = _below(chance, len(piece) + 1)
                found[at:at] = piece[begin : begin + _one(chance, (1, 4, 16, 64, 1024))]
            case _:
                end = at + _one(chance, (1, 2, 4, 16))
                found[at:at] = found[at:end] * _one(chance, (1, 2, 50))
        del found[LONGEST:]
    return bytes(found)


def frame(chance: random.Random, payload: bytes) -> bytes:
    """A CLASP frame, nearly always with the right length."""
    payload = payload[:65_535]
    size = len(payload) if chance.random() < 0.97 else chance.choice(LENGTHS)
    flags = chance.choice((0x00, 0x01, 0x40, 0x41, 0x81)) if chance.random() < 0.97 else chance.randrange(256)
    stamp = bytes(8) if flags & 0x20 and chance.random() < 0.9 else b""
    magic = 0x53 if chance.random() < 0.995 else chance.randrange(256)
    return bytes((magic, flags)) + size.to_bytes(2, "big") + stamp + payload


def stream(chance: random.Random, payload: bytes) -> bytes:
    """The frame with its length before it, as plain TCP has it; one in a thousand with another."""
    whole = frame(chance, payload)
    size = len(whole) if chance.random() < 0.999 else chance.randrange(1 << 17)
    return size.to_bytes(4, "big") + whole


def websocket(chance: random.Random, payload: bytes) -> bytes:
    """The frame as a client's message, now and then cut into fragments or with a header that no client sends."""
    whole = frame(chance, payload) if chance.random() < 0.98 else payload
    first = 0x82 if chance.random() < 0.98 else chance.randrange(256)
    head = bytes((first, 0x80 | (len(whole) if len(whole) < 126 else 126 if len(whole) < 65536 else 127)))
    if len(whole) >= 126:
        head += len(whole).to_bytes(2 if len(whole) < 65536 else 8, "big")
    return head + bytes(4) + whole


def packet(chance: random.Random, data: bytes) -> bytes:
    """An MQTT packet whose remaining length nearly always fits."""
    if len(data) < 2 or chance.random() < 0.03:
        return data
    at = 1
    while at < len(data) - 1 and at < 4 and data[at] & 0x80:
        at += 1
    body, size, coded = data[at + 1 :], len(data) - at - 1, bytearray()
    while True:
        size, low = divmod(size, 128)
        coded.append(low | (0x80 if size else 0))
        if not size:
            return data[:1] + bytes(coded) + body
