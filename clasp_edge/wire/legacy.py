"""v2 MessagePack payloads to the same messages as v3. Decoding only: every known peer reads v3 (wire.md 3.1).

Responsible for the fields of each message (wire.md 3.2); what may stand in a field is legacy_fields' business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgpack

from clasp_edge.wire import messages as m
from clasp_edge.wire.enums import FederationOp, Phase, SignalType
from clasp_edge.wire.errors import Kind, WireError
from clasp_edge.wire.frame import Buffer
from clasp_edge.wire.legacy_fields import (
    Fields,
    Pairs,
    boolean,
    items,
    name_of,
    number,
    text,
    u8,
    u16,
    u32,
    u64,
    value,
    value_map,
    wrong_type,
)
from clasp_edge.wire.limits import MAX_BUNDLE_DEPTH
from clasp_edge.wire.msgpack_scan import end_of_object

_signal_name = name_of({signal.label: signal for signal in SignalType})
_signal_names = items(_signal_name)
_phase_name = name_of({phase.label: phase for phase in Phase})
_op_name = name_of(
    {
        "DeclareNamespaces": FederationOp.DECLARE_NAMESPACES,
        "RequestSync": FederationOp.REQUEST_SYNC,
        "RevisionVector": FederationOp.REVISION_VECTOR,
        "SyncComplete": FederationOp.SYNC_COMPLETE,
    }
)
_easing_name = name_of(
    {name: name for name in ("linear", "ease-in", "ease-out", "ease-in-out", "step", "cubic-bezier")}
)
_ttl_mode = {"Sliding": m.TtlMode.SLIDING, "Absolute": m.TtlMode.ABSOLUTE}
_texts = items(text)
_numbers = items(number)


def decode_payload(payload: Buffer) -> m.Message:
    """Decode a v2 payload; bytes after its map are ignored (wire.md 3.4). Raises `WireError`, never anything else."""
    data = bytes(payload)
    if not data:
        raise WireError(Kind.EMPTY_PAYLOAD, "an empty payload is no message")
    end = end_of_object(data)
    try:
        root = msgpack.unpackb(
            memoryview(data)[:end], raw=False, strict_map_key=False, use_list=True, object_pairs_hook=Pairs
        )
    except UnicodeDecodeError as error:
        raise WireError(Kind.BAD_UTF8, f"a MessagePack string is not UTF-8: {error.reason}") from None
    except ValueError as error:
        # What the walk over the structure leaves: a timestamp extension of an impossible length.
        raise WireError(Kind.MSGPACK_MALFORMED, f"not MessagePack: {error}") from None
    return _message(root, 0)


def _message(root: object, bundle_depth: int) -> m.Message:
    if not isinstance(root, Pairs):
        raise wrong_type("a message", "a map", root)
    types = [content for key, content in root if key in ("type", b"type")]
    if not types:
        raise WireError(Kind.MSGPACK_MISSING_TYPE, "the message has no `type`")
    if len(types) > 1:
        raise WireError(Kind.MSGPACK_DUPLICATE_KEY, "the message has more than one `type`")
    type_name = _type_name(types[0])
    fields = Fields(root, _FIELDS[type_name], type_name)
    if type_name == "BUNDLE":
        return _bundle(fields, bundle_depth)
    return _DECODERS[type_name](fields)


def _type_name(content: object) -> str:
    if isinstance(content, int) and not isinstance(content, bool) and 0 <= content < len(_TYPE_NAMES):
        # An index into the list of names, not a message code (wire.md 3.4).
        return _TYPE_NAMES[content]
    if isinstance(content, bytes):
        content = content.decode(errors="replace")
    if isinstance(content, str) and content in _FIELDS:
        return content
    shown = content[:40] if isinstance(content, str) else content if isinstance(content, int) else type(content)
    raise WireError(Kind.MSGPACK_UNKNOWN_TYPE, f"no message is of type {shown!r}")


def _bundle(fields: Fields, bundle_depth: int) -> m.Bundle:
    if bundle_depth >= MAX_BUNDLE_DEPTH:
        raise WireError(Kind.DEPTH, f"bundles nest at most {MAX_BUNDLE_DEPTH} deep")
    inner = items(lambda root, where: _message(root, bundle_depth + 1))
    return m.Bundle(fields.required("messages", inner), fields.optional("timestamp", u64))


def _hello(fields: Fields) -> m.Hello:
    return m.Hello(
        version=fields.required("version", u8),
        name=fields.required("name", text),
        features=fields.defaulted("features", _texts, ()),
        capabilities=fields.optional("capabilities", _capabilities),
        token=fields.optional("token", text),
    )


def _capabilities(source: object, where: str) -> m.Capabilities:
    fields = Fields(source, ("encryption", "compression"), where)
    return m.Capabilities(fields.defaulted("encryption", boolean, False), fields.optional("compression", text))


def _welcome(fields: Fields) -> m.Welcome:
    return m.Welcome(
        version=fields.required("version", u8),
        session=fields.required("session", text),
        name=fields.required("name", text),
        features=fields.defaulted("features", _texts, ()),
        time=fields.required("time", u64),
        token=fields.optional("token", text),
    )


def _announce(fields: Fields) -> m.Announce:
    return m.Announce(
        namespace=fields.required("namespace", text),
        signals=fields.defaulted("signals", items(_signal), ()),
        meta=fields.optional("meta", value_map),
    )


def _signal(source: object, where: str) -> m.Signal:
    fields = Fields(source, ("address", "type", "datatype", "access", "meta"), where)
    return m.Signal(
        address=fields.required("address", text),
        type=fields.required("type", _signal_name),
        datatype=fields.optional("datatype", text),
        access=fields.optional("access", text),
        meta=fields.optional("meta", _signal_meta),
    )


def _signal_meta(source: object, where: str) -> m.SignalMeta:
    fields = Fields(source, ("unit", "range", "default", "description"), where)
    return m.SignalMeta(
        unit=fields.optional("unit", text),
        range=fields.optional("range", _range),
        default=fields.optional_value("default"),
        description=fields.optional("description", text),
    )


def _range(content: object, where: str) -> tuple[float, float]:
    ends = _numbers(content, where)
    if len(ends) != 2:
        raise WireError(Kind.MSGPACK_WRONG_TYPE, f"{where} is two numbers, not {len(ends)}")
    return ends[0], ends[1]


def _federation_sync(fields: Fields) -> m.FederationSync:
    return m.FederationSync(
        op=fields.required("op", _op_name),
        patterns=fields.defaulted("patterns", _texts, ()),
        revisions=fields.defaulted("revisions", _revisions, {}),
        since_revision=fields.optional("since_revision", u64),
        origin=fields.optional("origin", text),
    )


def _revisions(content: object, where: str) -> dict[str, int]:
    if not isinstance(content, Pairs):
        raise wrong_type(where, "a map", content)
    return {text(address, where): u64(revision, where) for address, revision in content}


def _subscribe(fields: Fields) -> m.Subscribe:
    return m.Subscribe(
        id=fields.required("id", u32),
        pattern=fields.required("pattern", text),
        types=fields.defaulted("types", _signal_names, ()),
        options=fields.optional("options", _subscribe_options),
    )


def _subscribe_options(source: object, where: str) -> m.SubscribeOptions:
    fields = Fields(source, ("max_rate", "epsilon", "history", "window"), where)
    return m.SubscribeOptions(
        max_rate=fields.optional("max_rate", u32),
        epsilon=fields.optional("epsilon", number),
        history=fields.optional("history", u32),
        window=fields.optional("window", u32),
    )


def _unsubscribe(fields: Fields) -> m.Unsubscribe:
    return m.Unsubscribe(fields.required("id", u32))


def _publish(fields: Fields) -> m.Publish:
    return m.Publish(
        address=fields.required("address", text),
        signal=fields.optional("signal", _signal_name),
        value=fields.optional_value("value"),
        payload=fields.optional_value("payload"),
        samples=fields.optional("samples", _numbers),
        rate=fields.optional("rate", u32),
        id=fields.optional("id", u32),
        phase=fields.optional("phase", _phase_name),
        timestamp=fields.optional("timestamp", u64),
        timeline=fields.optional("timeline", _timeline),
    )


def _timeline(source: object, where: str) -> m.Timeline:
    fields = Fields(source, ("keyframes", "loop_", "start_time", "duration"), where)
    return m.Timeline(
        keyframes=fields.required("keyframes", items(_keyframe)),
        loop_=fields.defaulted("loop_", boolean, False),
        start_time=fields.optional("start_time", u64),
        duration=fields.optional("duration", u64),
    )


def _keyframe(source: object, where: str) -> m.Keyframe:
    fields = Fields(source, ("time", "value", "easing", "bezier"), where)
    return m.Keyframe(
        time=fields.required("time", u64),
        value=fields.required("value", value),
        easing=fields.defaulted("easing", _easing_name, "linear"),
        bezier=fields.optional("bezier", _bezier),
    )


def _bezier(content: object, where: str) -> tuple[float, float, float, float]:
    points = _numbers(content, where)
    if len(points) != 4:
        raise WireError(Kind.MSGPACK_WRONG_TYPE, f"{where} is four numbers, not {len(points)}")
    return points


def _set(fields: Fields) -> m.Set:
    return m.Set(
        address=fields.required("address", text),
        value=fields.required("value", value),
        revision=fields.optional("revision", u64),
        lock=fields.defaulted("lock", boolean, False),
        unlock=fields.defaulted("unlock", boolean, False),
        ttl=fields.optional("ttl", _ttl),
    )


def _ttl(content: object, where: str) -> m.Ttl:
    if isinstance(content, Pairs) and len(content) == 1:
        mode = text(content[0][0], where)
        if mode in _ttl_mode:
            return m.Ttl(_ttl_mode[mode], u32(content[0][1], where))
    elif isinstance(content, (str, bytes)) and text(content, where) == "Never":
        return m.Ttl(m.TtlMode.NEVER)
    raise wrong_type(where, '"Never", {"Sliding": seconds} or {"Absolute": seconds}', content)


def _get(fields: Fields) -> m.Get:
    return m.Get(fields.required("address", text))


def _snapshot(fields: Fields) -> m.Snapshot:
    return m.Snapshot(fields.required("params", items(_param)))


def _param(source: object, where: str) -> m.ParamValue:
    fields = Fields(source, ("address", "value", "revision", "writer", "timestamp"), where)
    return m.ParamValue(
        address=fields.required("address", text),
        value=fields.required("value", value),
        revision=fields.required("revision", u64),
        writer=fields.optional("writer", text),
        timestamp=fields.optional("timestamp", u64),
    )


def _replay(fields: Fields) -> m.Replay:
    return m.Replay(
        pattern=fields.required("pattern", text),
        from_=fields.optional("from", u64),
        to=fields.optional("to", u64),
        limit=fields.optional("limit", u32),
        types=fields.defaulted("types", _signal_names, ()),
    )


def _sync(fields: Fields) -> m.Sync:
    return m.Sync(fields.required("t1", u64), fields.optional("t2", u64), fields.optional("t3", u64))


def _ping(fields: Fields) -> m.Ping:
    return m.Ping()


def _pong(fields: Fields) -> m.Pong:
    return m.Pong()


def _ack(fields: Fields) -> m.Ack:
    return m.Ack(
        address=fields.optional("address", text),
        revision=fields.optional("revision", u64),
        locked=fields.optional("locked", boolean),
        holder=fields.optional("holder", text),
        correlation_id=fields.optional("correlation_id", u32),
    )


def _error(fields: Fields) -> m.Error:
    return m.Error(
        code=fields.required("code", u16),
        message=fields.required("message", text),
        address=fields.optional("address", text),
        correlation_id=fields.optional("correlation_id", u32),
    )


def _query(fields: Fields) -> m.Query:
    return m.Query(fields.required("pattern", text))


def _result(fields: Fields) -> m.Result:
    return m.Result(fields.required("signals", items(_signal)))


# Fields in emission order; the order of the messages is what a numeric `type` indexes (wire.md 3.2, 3.4).
_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "HELLO": ("version", "name", "features", "capabilities", "token"),
    "WELCOME": ("version", "session", "name", "features", "time", "token"),
    "ANNOUNCE": ("namespace", "signals", "meta"),
    "SUBSCRIBE": ("id", "pattern", "types", "options"),
    "UNSUBSCRIBE": ("id",),
    "PUBLISH": (
        *("address", "signal", "value", "payload", "samples"),
        *("rate", "id", "phase", "timestamp", "timeline"),
    ),
    "SET": ("address", "value", "revision", "lock", "unlock", "ttl"),
    "GET": ("address",),
    "SNAPSHOT": ("params",),
    "REPLAY": ("pattern", "from", "to", "limit", "types"),
    "FEDERATION_SYNC": ("op", "patterns", "revisions", "since_revision", "origin"),
    "BUNDLE": ("timestamp", "messages"),
    "SYNC": ("t1", "t2", "t3"),
    "PING": (),
    "PONG": (),
    "ACK": ("address", "revision", "locked", "holder", "correlation_id"),
    "ERROR": ("code", "message", "address", "correlation_id"),
    "QUERY": ("pattern",),
    "RESULT": ("signals",),
}
_TYPE_NAMES: Final = tuple(_FIELDS)

# BUNDLE is not here: it alone needs to know how deep it stands.
_DECODERS: Final[dict[str, Callable[[Fields], m.Message]]] = {
    "HELLO": _hello,
    "WELCOME": _welcome,
    "ANNOUNCE": _announce,
    "SUBSCRIBE": _subscribe,
    "UNSUBSCRIBE": _unsubscribe,
    "PUBLISH": _publish,
    "SET": _set,
    "GET": _get,
    "SNAPSHOT": _snapshot,
    "REPLAY": _replay,
    "FEDERATION_SYNC": _federation_sync,
    "SYNC": _sync,
    "PING": _ping,
    "PONG": _pong,
    "ACK": _ack,
    "ERROR": _error,
    "QUERY": _query,
    "RESULT": _result,
}
