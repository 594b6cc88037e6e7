"""The CLASP language without I/O: frames, messages, values, addresses, both encodings.

Knows nothing of sessions, sockets or storage; imports nothing of ours but itself. `decode` and `encode` take whole
frames, `decode_payload` and `encode_payload` what stands inside one.
"""

from __future__ import annotations

from clasp_edge.wire import compact, legacy
from clasp_edge.wire.compact import encode_payload, split_bundle
from clasp_edge.wire.compact_decoder import Steps
from clasp_edge.wire.enums import (
    ErrorCode,
    FederationOp,
    MessageType,
    Phase,
    Qos,
    SignalType,
    ValueType,
    default_qos,
    types_from_mask,
    types_to_mask,
)
from clasp_edge.wire.errors import Kind, WireError
from clasp_edge.wire.frame import (
    MAGIC,
    MAX_FRAME,
    MAX_PAYLOAD,
    Buffer,
    FrameHeader,
    decode_frame,
    encode_frame,
)
from clasp_edge.wire.limits import (
    MAX_ADDRESS_BYTES,
    MAX_ADDRESS_SEGMENTS,
    MAX_BUNDLE_DEPTH,
    MAX_PAYLOAD_BYTES,
    MAX_VALUE_DEPTH,
)
from clasp_edge.wire.messages import (
    ABSENT,
    Absent,
    Ack,
    Announce,
    Bundle,
    Capabilities,
    Error,
    FederationSync,
    Get,
    Hello,
    Keyframe,
    Message,
    ParamValue,
    Ping,
    Pong,
    Publish,
    Query,
    Replay,
    Result,
    Set,
    Signal,
    SignalMeta,
    Snapshot,
    Subscribe,
    SubscribeOptions,
    Sync,
    Timeline,
    Ttl,
    TtlMode,
    Unsubscribe,
    Welcome,
)
from clasp_edge.wire.values import (
    Value,
    decode_typed_value,
    decode_value,
    encode_typed_value,
    encode_value,
)

__all__ = [
    "ABSENT",
    "MAGIC",
    "MAX_ADDRESS_BYTES",
    "MAX_ADDRESS_SEGMENTS",
    "MAX_BUNDLE_DEPTH",
    "MAX_FRAME",
    "MAX_PAYLOAD",
    "MAX_PAYLOAD_BYTES",
    "MAX_VALUE_DEPTH",
    "Absent",
    "Ack",
    "Announce",
    "Buffer",
    "Bundle",
    "Capabilities",
    "Error",
    "ErrorCode",
    "FederationOp",
    "FederationSync",
    "FrameHeader",
    "Get",
    "Hello",
    "Keyframe",
    "Kind",
    "Message",
    "MessageType",
    "ParamValue",
    "Phase",
    "Ping",
    "Pong",
    "Publish",
    "Qos",
    "Query",
    "Replay",
    "Result",
    "Set",
    "Signal",
    "SignalMeta",
    "SignalType",
    "Snapshot",
    "Subscribe",
    "SubscribeOptions",
    "Sync",
    "Timeline",
    "Ttl",
    "TtlMode",
    "Unsubscribe",
    "Value",
    "ValueType",
    "Welcome",
    "WireError",
    "decode",
    "decode_frame",
    "decode_payload",
    "decode_payload_in_steps",
    "decode_typed_value",
    "decode_value",
    "default_qos",
    "encode",
    "encode_frame",
    "encode_payload",
    "encode_typed_value",
    "encode_value",
    "is_legacy",
    "split_bundle",
    "types_from_mask",
    "types_to_mask",
]


def is_legacy(payload: Buffer) -> bool:
    """Whether a payload is v2: its first byte begins a MessagePack map (wire.md 1.2; the version bits do not count)."""
    if not payload:
        return False
    lead = payload[0]
    return lead & 0xF0 == 0x80 or lead == 0xDE or lead == 0xDF


def decode_payload(payload: Buffer) -> Message:
    """Decode a payload of either encoding. Raises `WireError`, never anything else.

    For what stands inside a v3 bundle use `compact.decode_payload`: v2 is recognised at the top only (wire.md 1.2).
    """
    if is_legacy(payload):
        return legacy.decode_payload(payload)
    return compact.decode_payload(payload)


def decode_payload_in_steps(payload: Buffer) -> Steps[Message]:
    """`decode_payload`, with pauses in which something else may be done; of v2, which is bounded by its number of
    values, there are none. The message is what the generator returns."""
    if is_legacy(payload):
        return legacy.decode_payload(payload)
    return (yield from compact.decode_payload_in_steps(payload))


def decode(frame: Buffer) -> tuple[FrameHeader, Message]:
    """Decode a whole frame. Raises `WireError`, never anything else."""
    header, payload = decode_frame(frame)
    return header, decode_payload(payload)


def encode(message: Message, qos: int | None = None) -> bytes:
    """Encode a message as a whole v3 frame, with the QoS of its type (wire.md 2.1) unless ``qos`` says otherwise.

    Raises `WireError` (too-large, out-of-range, unencodable, bad-utf8, depth).
    """
    payload = encode_payload(message)
    if qos is None:
        qos = default_qos(message.type, message.signal if isinstance(message, Publish) else None)
    return encode_frame(payload, qos)
