"""The long header of a packet, as far as a listener has to read it before there is a connection (RFC 9000, 17.2)."""

from __future__ import annotations

from typing import NamedTuple

LARGEST_CID = 20
_INITIAL = 0
_CIDS_AT = 5


class NotQuic(ValueError):
    """No long header."""


class Initial(NamedTuple):
    """Where a packet goes and comes from; `token` is None for one that is no Initial of version 1."""

    version: int
    destination: bytes
    source: bytes
    token: bytes | None


def read_long_header(data: bytes) -> Initial:
    """Raises NotQuic."""
    try:
        version = int.from_bytes(data[1:_CIDS_AT], "big")
        size = data[_CIDS_AT]
        at = _CIDS_AT + 1 + size
        destination = data[_CIDS_AT + 1 : at]
        source = data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]
        if version != 1:
            # Other versions may have longer ids; of them only these two fields are known (RFC 8999).
            return Initial(version, destination, source, None)
        if len(destination) > LARGEST_CID or len(source) > LARGEST_CID or not data[0] & 0x40:
            raise NotQuic
        if (data[0] & 0x30) >> 4 != _INITIAL:
            return Initial(version, destination, source, None)
        length, at = _varint(data, at)
    except IndexError:
        raise NotQuic from None
    if at + length > len(data):
        raise NotQuic
    return Initial(version, destination, source, data[at : at + length])


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer (RFC 9000, 16), and where it ends."""
    size = 1 << (data[at] >> 6)
    return int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size
