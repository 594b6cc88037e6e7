"""Messages to v3 payloads: one function per layout of wire.md 2.3, in upstream's canonical form.

Knows neither frames nor MessagePack. What v3 has no place for (wire.md 9.2) is dropped; what does not fit its
field is refused instead of wrapped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from clasp_edge.wire import messages as m
from clasp_edge.wire.enums import (
    WELCOME_FEATURE_MASK,
    MessageType,
    Phase,
    SignalType,
    features_to_bits,
    types_to_mask,
)
from clasp_edge.wire.errors import Kind, WireError
from clasp_edge.wire.limits import MAX_BUNDLE_DEPTH, MAX_PAYLOAD_BYTES
from clasp_edge.wire.primitives import (
    write_blob,
    write_count,
    write_f64,
    write_string,
    write_u8,
    write_u16,
    write_u32,
    write_u64,
)
from clasp_edge.wire.values import write_typed_value, write_value


def encode_message(message: m.Message, bundle_depth: int = 0) -> bytearray:
    """Encode one message; ``bundle_depth`` counts the bundles around it."""
    out = bytearray()
    if isinstance(message, m.Bundle):
        _bundle(out, message, bundle_depth)
    else:
        encoder = _ENCODERS.get(type(message))
        if encoder is None:
            raise WireError(Kind.UNENCODABLE, f"no CLASP message: {type(message).__name__}")
        out.append(message.type)
        encoder(out, message)
    if len(out) > MAX_PAYLOAD_BYTES:
        raise WireError(
            Kind.TOO_LARGE,
            f"a payload has at most {MAX_PAYLOAD_BYTES} bytes, this {message.type.name} needs {len(out)}",
        )
    return out


def _bundle(out: bytearray, message: m.Bundle, bundle_depth: int) -> None:
    if bundle_depth >= MAX_BUNDLE_DEPTH:
        raise WireError(Kind.DEPTH, f"bundles nest at most {MAX_BUNDLE_DEPTH} deep")
    out.append(MessageType.BUNDLE)
    out.append(0 if message.timestamp is None else 0x80)
    write_count(out, len(message.messages), "bundled messages")
    if message.timestamp is not None:
        write_u64(out, message.timestamp, "the bundle timestamp")
    for inner in message.messages:
        write_blob(out, encode_message(inner, bundle_depth + 1), "a bundled message")


def _hello(out: bytearray, message: m.Hello) -> None:
    write_u8(out, message.version, "the protocol version")
    out.append(features_to_bits(message.features))
    write_string(out, message.name, "the client name")
    write_string(out, message.token or "", "the token")


def _welcome(out: bytearray, message: m.Welcome) -> None:
    write_u8(out, message.version, "the protocol version")
    out.append(features_to_bits(message.features) & WELCOME_FEATURE_MASK)
    write_u64(out, message.time, "the server time")
    write_string(out, message.session, "the session id")
    write_string(out, message.name, "the server name")
    # Three known clients cannot decode a WELCOME without its third string (wire.md 2.3).
    write_string(out, message.token or "", "the token")


def _announce(out: bytearray, message: m.Announce) -> None:
    write_string(out, message.namespace, "the namespace")
    _signals(out, message.signals, with_meta=True)


def _signals(out: bytearray, signals: Sequence[m.Signal], with_meta: bool) -> None:
    write_count(out, len(signals), "signals")
    for signal in signals:
        meta = signal.meta if with_meta else None
        write_string(out, signal.address, "a signal address")
        out.append(signal.type)
        out.append(_flags((0x01, signal.datatype), (0x02, signal.access), (0x04, meta)))
        if signal.datatype is not None:
            write_string(out, signal.datatype, "a datatype")
        if signal.access is not None:
            write_string(out, signal.access, "an access")
        if meta is not None:
            _signal_meta(out, meta)


def _signal_meta(out: bytearray, meta: m.SignalMeta) -> None:
    flags = _flags((0x01, meta.unit), (0x02, meta.range), (0x08, meta.description))
    out.append(flags if meta.default is m.ABSENT else flags | 0x04)
    if meta.unit is not None:
        write_string(out, meta.unit, "a unit")
    if meta.range is not None:
        minimum, maximum = meta.range
        write_f64(out, minimum, "a range minimum")
        write_f64(out, maximum, "a range maximum")
    if meta.default is not m.ABSENT:
        write_typed_value(out, meta.default)
    if meta.description is not None:
        write_string(out, meta.description, "a description")


def _federation_sync(out: bytearray, message: m.FederationSync) -> None:
    out.append(message.op)
    write_count(out, len(message.patterns), "patterns")
    for pattern in message.patterns:
        write_string(out, pattern, "a pattern")
    write_count(out, len(message.revisions), "revisions")
    for address, revision in message.revisions.items():
        write_string(out, address, "an address")
        write_u64(out, revision, "a revision")
    out.append(_flags((0x80, message.since_revision), (0x40, message.origin)))
    if message.since_revision is not None:
        write_u64(out, message.since_revision, "since_revision")
    if message.origin is not None:
        write_string(out, message.origin, "the origin")


def _subscribe(out: bytearray, message: m.Subscribe) -> None:
    write_u32(out, message.id, "the subscription id")
    write_string(out, message.pattern, "the pattern")
    out.append(types_to_mask(message.types))
    options = message.options
    if options is None:
        out.append(0)
        return
    out.append(
        _flags((0x01, options.max_rate), (0x02, options.epsilon), (0x04, options.history), (0x08, options.window))
    )
    if options.max_rate is not None:
        write_u32(out, options.max_rate, "max_rate")
    if options.epsilon is not None:
        write_f64(out, options.epsilon, "epsilon")
    if options.history is not None:
        write_u32(out, options.history, "history")
    if options.window is not None:
        write_u32(out, options.window, "window")


def _unsubscribe(out: bytearray, message: m.Unsubscribe) -> None:
    write_u32(out, message.id, "the subscription id")


def _publish(out: bytearray, message: m.Publish) -> None:
    signal = SignalType.EVENT if message.signal is None else message.signal
    phase = Phase.START if message.phase is None else message.phase
    out.append(signal << 5 | phase | _flags((0x10, message.timestamp), (0x08, message.id)))
    write_string(out, message.address, "the address")
    # One slot for three fields of the data model: value, else payload, else samples (wire.md 2.3).
    value = message.payload if message.value is m.ABSENT else message.value
    if value is not m.ABSENT:
        out.append(1)
        write_typed_value(out, value)
    elif message.samples is not None:
        out.append(2)
        write_count(out, len(message.samples), "samples")
        for sample in message.samples:
            write_f64(out, sample, "a sample")
    else:
        out.append(0)
    if message.timestamp is not None:
        write_u64(out, message.timestamp, "the timestamp")
    if message.id is not None:
        write_u32(out, message.id, "the gesture id")
    if message.rate is not None:
        write_u32(out, message.rate, "the rate")


def _set(out: bytearray, message: m.Set) -> None:
    flags = _flags((0x80, message.revision), (0x10, message.ttl))
    if message.lock:
        flags |= 0x40
    if message.unlock:
        flags |= 0x20
    at = len(out)
    out.append(0)
    write_string(out, message.address, "the address")
    # The value's type sits in the flags, before the address (wire.md 9.4).
    out[at] = flags | write_value(out, message.value)
    if message.revision is not None:
        write_u64(out, message.revision, "the revision")
    if message.ttl is not None:
        write_u32(out, message.ttl.word, "the ttl")


def _get(out: bytearray, message: m.Get) -> None:
    write_string(out, message.address, "the address")


def _snapshot(out: bytearray, message: m.Snapshot) -> None:
    write_count(out, len(message.params), "params")
    for param in message.params:
        write_string(out, param.address, "a param address")
        write_typed_value(out, param.value)
        write_u64(out, param.revision, "a param revision")
        out.append(_flags((0x01, param.writer), (0x02, param.timestamp)))
        if param.writer is not None:
            write_string(out, param.writer, "a param writer")
        if param.timestamp is not None:
            write_u64(out, param.timestamp, "a param timestamp")


def _replay(out: bytearray, message: m.Replay) -> None:
    out.append(_flags((0x80, message.from_), (0x40, message.to), (0x20, message.limit)))
    write_string(out, message.pattern, "the pattern")
    if message.from_ is not None:
        write_u64(out, message.from_, "from")
    if message.to is not None:
        write_u64(out, message.to, "to")
    if message.limit is not None:
        write_u32(out, message.limit, "the limit")
    out.append(types_to_mask(message.types))


def _sync(out: bytearray, message: m.Sync) -> None:
    out.append(_flags((0x01, message.t2), (0x02, message.t3)))
    write_u64(out, message.t1, "t1")
    if message.t2 is not None:
        write_u64(out, message.t2, "t2")
    if message.t3 is not None:
        write_u64(out, message.t3, "t3")


def _nothing(out: bytearray, message: m.Ping | m.Pong) -> None:
    """PING and PONG are their type byte alone."""


def _ack(out: bytearray, message: m.Ack) -> None:
    out.append(
        _flags(
            (0x01, message.address),
            (0x02, message.revision),
            (0x04, message.locked),
            (0x08, message.holder),
            (0x10, message.correlation_id),
        )
    )
    if message.address is not None:
        write_string(out, message.address, "the address")
    if message.revision is not None:
        write_u64(out, message.revision, "the revision")
    if message.locked is not None:
        out.append(1 if message.locked else 0)
    if message.holder is not None:
        write_string(out, message.holder, "the holder")
    if message.correlation_id is not None:
        write_u32(out, message.correlation_id, "the correlation id")


def _error(out: bytearray, message: m.Error) -> None:
    write_u16(out, message.code, "the error code")
    write_string(out, message.message, "the error message")
    out.append(_flags((0x01, message.address), (0x02, message.correlation_id)))
    if message.address is not None:
        write_string(out, message.address, "the address")
    if message.correlation_id is not None:
        write_u32(out, message.correlation_id, "the correlation id")


def _query(out: bytearray, message: m.Query) -> None:
    write_string(out, message.pattern, "the pattern")


def _result(out: bytearray, message: m.Result) -> None:
    _signals(out, message.signals, with_meta=False)


def _flags(*fields: tuple[int, object]) -> int:
    """The bits of those fields that are present."""
    bits = 0
    for bit, content in fields:
        if content is not None:
            bits |= bit
    return bits


# Each function takes the class it is listed under, which a dict's type cannot say.
_ENCODERS: Final[dict[type, Callable[[bytearray, Any], None]]] = {
    m.Hello: _hello,
    m.Welcome: _welcome,
    m.Announce: _announce,
    m.FederationSync: _federation_sync,
    m.Subscribe: _subscribe,
    m.Unsubscribe: _unsubscribe,
    m.Publish: _publish,
    m.Set: _set,
    m.Get: _get,
    m.Snapshot: _snapshot,
    m.Replay: _replay,
    m.Sync: _sync,
    m.Ping: _nothing,
    m.Pong: _nothing,
    m.Ack: _ack,
    m.Error: _error,
    m.Query: _query,
    m.Result: _result,
}
