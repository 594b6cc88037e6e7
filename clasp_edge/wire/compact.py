"""Doors to the v3 "compact binary" payload encoding: decode, encode, and split a bundle without decoding it.

Knows neither frames nor MessagePack. The layouts live in compact_decoder and compact_encoder.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from clasp_edge.wire.compact_decoder import Steps, decode_in_steps, decode_message, read_bundle
from clasp_edge.wire.compact_encoder import encode_message
from clasp_edge.wire.enums import MessageType
from clasp_edge.wire.errors import Kind, WireError
from clasp_edge.wire.frame import Buffer
from clasp_edge.wire.messages import Message

_MESSAGE_CODES: Final = frozenset(int(code) for code in MessageType)


def decode_payload(payload: Buffer) -> Message:
    """Decode a v3 payload (type byte and fields). Raises `WireError`, never anything else."""
    return decode_message(bytes(payload))


def decode_payload_in_steps(payload: Buffer) -> Steps[Message]:
    """The same; what is a list, in steps that are short."""
    return decode_in_steps(bytes(payload))


def encode_payload(message: Message) -> bytes:
    """Encode a message as a v3 payload in upstream's canonical form.

    Raises `WireError` (too-large, out-of-range, unencodable, bad-utf8, depth).
    """
    return bytes(encode_message(message))


def split_bundle(payload: Buffer) -> tuple[int | None, list[bytes]]:
    """Timestamp (microseconds) of a v3 BUNDLE and the payloads of its messages in order, bundles within it flattened.

    The timestamps of inner bundles are ignored: the outermost one schedules. The inner messages are not decoded,
    but each is confined to its length and starts with a known v3 message code, so a MessagePack map cannot pass
    for one (wire.md 1.2). Raises `WireError` (empty-payload, unknown-message-type, truncated-payload, depth).
    """
    data = bytes(payload)
    if not data:
        raise WireError(Kind.EMPTY_PAYLOAD, "an empty payload is no bundle")
    if data[0] != MessageType.BUNDLE:
        raise WireError(Kind.UNKNOWN_MESSAGE_TYPE, f"message type 0x{data[0]:02X} is no bundle", 0)
    timestamp, inner = read_bundle(data, 0)
    flat: list[bytes] = []
    _flatten(inner, flat, 1)
    return timestamp, flat


def join_bundle(payloads: Sequence[bytes]) -> bytes:
    """The payload of a v3 BUNDLE of v3 payloads that are already encoded; they are not looked at."""
    head = struct.pack(">BBH", MessageType.BUNDLE, 0, len(payloads))
    return head + b"".join([part for payload in payloads for part in (len(payload).to_bytes(2, "big"), payload)])


def _flatten(inner: list[bytes], flat: list[bytes], bundle_depth: int) -> None:
    for part in inner:
        if not part:
            raise WireError(Kind.EMPTY_PAYLOAD, "a bundled message is empty")
        if part[0] == MessageType.BUNDLE:
            _flatten(read_bundle(part, bundle_depth)[1], flat, bundle_depth + 1)
        elif part[0] in _MESSAGE_CODES:
            flat.append(part)
        else:
            raise WireError(Kind.UNKNOWN_MESSAGE_TYPE, f"unknown message type 0x{part[0]:02X} in a bundle")
