"""v3 payloads to messages: one function per layout of wire.md 2.3.

Knows neither frames nor MessagePack. Unknown flag bits and bytes after the last field are ignored, as the
protocol demands; addresses are not judged here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from typing import Final, TypeAlias, TypeVar

from clasp_edge.wire import messages as m
from clasp_edge.wire.enums import (
    WELCOME_FEATURE_MASK,
    FederationOp,
    MessageType,
    features_from_bits,
    phase_from_code,
    signal_from_code,
    types_from_mask,
)
from clasp_edge.wire.errors import Kind, WireError
from clasp_edge.wire.limits import MAX_BUNDLE_DEPTH
from clasp_edge.wire.primitives import Reader
from clasp_edge.wire.values import read_typed_value, read_value

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]

READ_AT_ONCE = 64
"""Elements of a list between steps: a tenth of a millisecond, with descriptions a quarter."""


def decode_in_steps(payload: bytes) -> Steps[m.Message]:
    """Decode one message; what has thousands of elements, in steps that are short."""
    long = _LONG.get(payload[0]) if payload else None
    if long is None:
        return decode_message(payload)
    return (yield from long(Reader(payload, 1)))


def _at_once(steps: Steps[T]) -> T:
    try:
        while True:
            next(steps)
    except StopIteration as end:
        found: T = end.value
        return found


def decode_message(payload: bytes, bundle_depth: int = 0) -> m.Message:
    """Decode one message; ``bundle_depth`` counts the bundles around it."""
    if not payload:
        raise WireError(Kind.EMPTY_PAYLOAD, "an empty payload is no message")
    decoder = _DECODERS.get(payload[0])
    if decoder is not None:
        return decoder(Reader(payload, 1))
    long = _LONG.get(payload[0])
    if long is not None:
        return _at_once(long(Reader(payload, 1)))
    if payload[0] == MessageType.BUNDLE:
        return _bundle(payload, bundle_depth)
    raise WireError(Kind.UNKNOWN_MESSAGE_TYPE, f"unknown message type 0x{payload[0]:02X}", 0)


def read_bundle(payload: bytes, bundle_depth: int) -> tuple[int | None, list[bytes]]:
    """Timestamp and inner payloads of one BUNDLE, nothing decoded; each inner payload is confined to its length."""
    if bundle_depth >= MAX_BUNDLE_DEPTH:
        raise WireError(Kind.DEPTH, f"bundles nest at most {MAX_BUNDLE_DEPTH} deep")
    reader = Reader(payload, 1)
    flags = reader.u8("the bundle flags")
    count = reader.u16("the bundle count")
    # The timestamp stands after the count (wire.md 9.4).
    timestamp = reader.u64("the bundle timestamp") if flags & 0x80 else None
    return timestamp, [reader.blob("a bundled message") for _ in range(count)]


def _bundle(payload: bytes, bundle_depth: int) -> m.Bundle:
    timestamp, inner = read_bundle(payload, bundle_depth)
    return m.Bundle(tuple([decode_message(part, bundle_depth + 1) for part in inner]), timestamp)


def _hello(reader: Reader) -> m.Hello:
    version = reader.u8("the protocol version")
    features = features_from_bits(reader.u8("the features"))
    name = reader.string("the client name")
    return m.Hello(version, name, features, token=reader.string("the token") or None)


def _welcome(reader: Reader) -> m.Welcome:
    version = reader.u8("the protocol version")
    features = features_from_bits(reader.u8("the features") & WELCOME_FEATURE_MASK)
    time = reader.u64("the server time")
    session = reader.string("the session id")
    name = reader.string("the server name")
    return m.Welcome(version, session, name, features, time, reader.string("the token") or None)


def _several(count: int, read: Callable[[], T]) -> Steps[list[T]]:
    found = []
    for number in range(1, count + 1):
        found.append(read())
        if number % READ_AT_ONCE == 0:
            yield
    return found


def _announce(reader: Reader) -> Steps[m.Message]:
    namespace = reader.string("the namespace")
    count = reader.u16("the signal count")
    return m.Announce(namespace, tuple((yield from _several(count, lambda: _signal(reader, with_meta=True)))))


def _signal(reader: Reader, with_meta: bool) -> m.Signal:
    address = reader.string("a signal address")
    signal = signal_from_code(reader.u8("a signal type"))
    opt = reader.u8("the signal options")
    return m.Signal(
        address,
        signal,
        reader.string("a datatype") if opt & 0x01 else None,
        reader.string("an access") if opt & 0x02 else None,
        # RESULT never has meta: its bit is ignored there (wire.md 2.3).
        _signal_meta(reader) if with_meta and opt & 0x04 else None,
    )


def _signal_meta(reader: Reader) -> m.SignalMeta:
    flags = reader.u8("the meta flags")
    return m.SignalMeta(
        reader.string("a unit") if flags & 0x01 else None,
        (reader.f64("a range minimum"), reader.f64("a range maximum")) if flags & 0x02 else None,
        read_typed_value(reader) if flags & 0x04 else m.ABSENT,
        reader.string("a description") if flags & 0x08 else None,
    )


def _federation_sync(reader: Reader) -> Steps[m.Message]:
    code = reader.u8("the federation operation")
    try:
        op = FederationOp(code)
    except ValueError:
        raise WireError(Kind.UNKNOWN_ENUM, f"unknown federation operation {code}", 1) from None
    count = reader.u16("the pattern count")
    patterns = yield from _several(count, lambda: reader.string("a pattern"))
    count = reader.u16("the revision count")
    revisions = yield from _several(count, lambda: (reader.string("an address"), reader.u64("a revision")))
    flags = reader.u8("the federation flags")
    return m.FederationSync(
        op,
        tuple(patterns),
        dict(revisions),
        reader.u64("since_revision") if flags & 0x80 else None,
        reader.string("the origin") if flags & 0x40 else None,
    )


def _subscribe(reader: Reader) -> m.Subscribe:
    subscription_id = reader.u32("the subscription id")
    pattern = reader.string("the pattern")
    types = types_from_mask(reader.u8("the type mask"))
    opt = reader.u8("the subscription options")
    options = None
    if opt:
        options = m.SubscribeOptions(
            reader.u32("max_rate") if opt & 0x01 else None,
            reader.f64("epsilon") if opt & 0x02 else None,
            reader.u32("history") if opt & 0x04 else None,
            reader.u32("window") if opt & 0x08 else None,
        )
    return m.Subscribe(subscription_id, pattern, types, options)


def _unsubscribe(reader: Reader) -> m.Unsubscribe:
    return m.Unsubscribe(reader.u32("the subscription id"))


def _publish(reader: Reader) -> m.Publish:
    flags = reader.u8("the publish flags")
    message = m.Publish(
        reader.string("the address"), signal=signal_from_code(flags >> 5), phase=phase_from_code(flags & 0x07)
    )
    indicator = reader.u8("the value indicator")
    if indicator == 1:
        message.value = read_typed_value(reader)
    elif indicator == 2:
        count = reader.u16("the sample count")
        message.samples = reader.unpack(struct.Struct(f">{count}d"), "the samples")
    if flags & 0x10:
        message.timestamp = reader.u64("the timestamp")
    if flags & 0x08:
        message.id = reader.u32("the gesture id")
    # The rate has no flag: four bytes or more left over are one (wire.md 2.3).
    if reader.remaining() >= 4:
        message.rate = reader.u32("the rate")
    return message


def _set(reader: Reader) -> m.Set:
    flags = reader.u8("the set flags")
    address = reader.string("the address")
    value = read_value(reader, flags & 0x0F)
    return m.Set(
        address,
        value,
        reader.u64("the revision") if flags & 0x80 else None,
        flags & 0x40 != 0,
        flags & 0x20 != 0,
        m.Ttl.from_word(reader.u32("the ttl")) if flags & 0x10 else None,
    )


def _get(reader: Reader) -> m.Get:
    return m.Get(reader.string("the address"))


def _snapshot(reader: Reader) -> Steps[m.Message]:
    count = reader.u16("the param count")
    return m.Snapshot(tuple((yield from _several(count, lambda: _param(reader)))))


def _param(reader: Reader) -> m.ParamValue:
    address = reader.string("a param address")
    value = read_typed_value(reader)
    revision = reader.u64("a param revision")
    opt = reader.u8("the param options")
    return m.ParamValue(
        address,
        value,
        revision,
        reader.string("a param writer") if opt & 0x01 else None,
        reader.u64("a param timestamp") if opt & 0x02 else None,
    )


def _replay(reader: Reader) -> m.Replay:
    flags = reader.u8("the replay flags")
    return m.Replay(
        reader.string("the pattern"),
        reader.u64("from") if flags & 0x80 else None,
        reader.u64("to") if flags & 0x40 else None,
        reader.u32("the limit") if flags & 0x20 else None,
        types_from_mask(reader.u8("the type mask")),
    )


def _sync(reader: Reader) -> m.Sync:
    flags = reader.u8("the sync flags")
    return m.Sync(
        reader.u64("t1"),
        reader.u64("t2") if flags & 0x01 else None,
        reader.u64("t3") if flags & 0x02 else None,
    )


def _ping(reader: Reader) -> m.Ping:
    return m.Ping()


def _pong(reader: Reader) -> m.Pong:
    return m.Pong()


def _ack(reader: Reader) -> m.Ack:
    flags = reader.u8("the ack flags")
    return m.Ack(
        reader.string("the address") if flags & 0x01 else None,
        reader.u64("the revision") if flags & 0x02 else None,
        reader.u8("locked") != 0 if flags & 0x04 else None,
        reader.string("the holder") if flags & 0x08 else None,
        reader.u32("the correlation id") if flags & 0x10 else None,
    )


def _error(reader: Reader) -> m.Error:
    code = reader.u16("the error code")
    text = reader.string("the error message")
    flags = reader.u8("the error flags")
    return m.Error(
        code,
        text,
        reader.string("the address") if flags & 0x01 else None,
        reader.u32("the correlation id") if flags & 0x02 else None,
    )


def _query(reader: Reader) -> m.Query:
    return m.Query(reader.string("the pattern"))


def _result(reader: Reader) -> Steps[m.Message]:
    count = reader.u16("the signal count")
    return m.Result(tuple((yield from _several(count, lambda: _signal(reader, with_meta=False)))))


# BUNDLE is not here: it alone needs to know how deep it stands.
_DECODERS: Final[dict[int, Callable[[Reader], m.Message]]] = {
    MessageType.HELLO: _hello,
    MessageType.WELCOME: _welcome,
    MessageType.SUBSCRIBE: _subscribe,
    MessageType.UNSUBSCRIBE: _unsubscribe,
    MessageType.PUBLISH: _publish,
    MessageType.SET: _set,
    MessageType.GET: _get,
    MessageType.REPLAY: _replay,
    MessageType.SYNC: _sync,
    MessageType.PING: _ping,
    MessageType.PONG: _pong,
    MessageType.ACK: _ack,
    MessageType.ERROR: _error,
    MessageType.QUERY: _query,
}

_LONG: Final[dict[int, Callable[[Reader], Steps[m.Message]]]] = {
    MessageType.ANNOUNCE: _announce,
    MessageType.FEDERATION_SYNC: _federation_sync,
    MessageType.SNAPSHOT: _snapshot,
    MessageType.RESULT: _result,
}
"""Messages that are lists."""
