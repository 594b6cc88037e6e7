"""v2 MessagePack payloads: what upstream's decoder accepts and refuses (wire.md 3), beyond the shared vectors."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.wire_strategies import floats, texts

from clasp_edge import wire
from clasp_edge.wire import legacy

SET = {"type": "SET", "address": "/a", "value": None}
PUBLISH = {"type": "PUBLISH", "address": "/a"}
DECLARATION_ORDER = [
    *(wire.Hello.type, wire.Welcome.type, wire.Announce.type, wire.Subscribe.type, wire.Unsubscribe.type),
    *(wire.Publish.type, wire.Set.type, wire.Get.type, wire.Snapshot.type, wire.Replay.type),
    *(wire.FederationSync.type, wire.Bundle.type, wire.Sync.type, wire.Ping.type, wire.Pong.type),
    *(wire.Ack.type, wire.Error.type, wire.Query.type, wire.Result.type),
]
legacy_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | floats | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=16,
)


def decode(root: dict[Any, Any]) -> wire.Message:
    return wire.decode_payload(msgpack.packb(root))


def nested(depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = [value]
    return value


def bundled(depth: int) -> dict[str, Any]:
    message: dict[str, Any] = {"type": "PING"}
    for _ in range(depth):
        message = {"type": "BUNDLE", "messages": [message]}
    return message


@given(legacy_values)
def test_values(value: Any) -> None:
    message = decode(SET | {"value": value})
    assert isinstance(message, wire.Set)
    assert repr(message.value) == repr(value)


@pytest.mark.parametrize("integer", [2**63, 2**64 - 1])
def test_integers_beyond_i64_become_floats(integer: int) -> None:
    message = decode(SET | {"value": [integer]})
    assert isinstance(message, wire.Set)
    assert repr(message.value) == repr([float(integer)])


def test_of_a_repeated_key_in_a_value_the_last_one_wins() -> None:
    assert legacy.decode_payload(
        bytes.fromhex("83a474797065a3534554a761646472657373a22f61a576616c756582a16b01a16b02")
    ) == wire.Set("/a", {"k": 2})


def test_nil_is_absence_for_optional_fields_and_null_for_the_value_of_set() -> None:
    nil = dict.fromkeys(("signal", "value", "payload", "samples", "rate", "id", "phase", "timestamp", "timeline"))
    assert decode(PUBLISH | nil) == wire.Publish("/a")
    assert decode(SET | {"revision": None, "ttl": None}) == wire.Set("/a", None)


def test_a_timeline() -> None:
    frames = [{"time": 0, "value": 1, "easing": "ease-in", "bezier": [0, 0.5, 1, 1]}, [5, "x"]]
    message = decode(PUBLISH | {"signal": "timeline", "timeline": {"keyframes": frames, "loop_": True, "duration": 9}})
    assert isinstance(message, wire.Publish)
    assert message.timeline == wire.Timeline(
        (wire.Keyframe(0, 1, "ease-in", (0.0, 0.5, 1.0, 1.0)), wire.Keyframe(5, "x")), loop_=True, duration=9
    )


@pytest.mark.parametrize(
    ("ttl", "decoded"),
    [
        ("Never", wire.Ttl(wire.TtlMode.NEVER)),
        ({"Sliding": 60}, wire.Ttl(wire.TtlMode.SLIDING, 60)),
        ({"Absolute": 60}, wire.Ttl(wire.TtlMode.ABSOLUTE, 60)),
    ],
)
def test_ttl(ttl: Any, decoded: wire.Ttl) -> None:
    assert decode(SET | {"ttl": ttl}) == wire.Set("/a", None, ttl=decoded)


@pytest.mark.parametrize("index", range(19))
def test_a_numeric_type_is_an_index_of_the_names(index: int) -> None:
    names = [message_type.name for message_type in DECLARATION_ORDER]
    fields = (
        {"version": 1, "name": "n", "session": "s", "time": 0, "namespace": "/n", "id": 1, "pattern": "/a", "t1": 0}
        | {"address": "/a", "value": 0, "params": [], "op": "SyncComplete", "messages": [], "signals": []}
        | {"code": 1, "message": "m"}
    )
    assert decode({"type": index} | fields).type.name == names[index]
    assert decode({"type": names[index]} | fields) == decode({"type": index} | fields)


@pytest.mark.parametrize(
    ("root", "kind"),
    [
        (SET | {"ttl": {"Sliding": -1}}, "msgpack-wrong-type"),
        (SET | {"ttl": {"Weekly": 1}}, "msgpack-wrong-type"),
        (SET | {"ttl": "Sliding"}, "msgpack-wrong-type"),
        (SET | {"lock": None}, "msgpack-wrong-type"),
        (SET | {"revision": True}, "msgpack-wrong-type"),
        (SET | {"revision": 1.0}, "msgpack-wrong-type"),
        (SET | {"value": {b"\xff": 1}}, "msgpack-wrong-type"),
        (SET | {b"\xff": 1}, "msgpack-wrong-type"),
        (SET | {1: 1}, "msgpack-wrong-type"),
        (PUBLISH | {"samples": {}}, "msgpack-wrong-type"),
        (PUBLISH | {"samples": [True]}, "msgpack-wrong-type"),
        (PUBLISH | {"phase": "begin"}, "msgpack-wrong-type"),
        (PUBLISH | {"signal": {"event": 1}}, "msgpack-wrong-type"),
        (PUBLISH | {"timeline": {}}, "msgpack-missing-field"),
        (PUBLISH | {"timeline": {"keyframes": [{"time": 0}]}}, "msgpack-missing-field"),
        (
            PUBLISH | {"timeline": {"keyframes": [{"time": 0, "value": 0, "easing": "x"}]}},
            "msgpack-wrong-type",
        ),
        (PUBLISH | {"timeline": {"keyframes": [{"time": 0, "value": 0, "bezier": [1]}]}}, "msgpack-wrong-type"),
        ({"type": "ANNOUNCE", "namespace": "/n", "meta": 1}, "msgpack-wrong-type"),
        ({"type": "ANNOUNCE", "namespace": "/n", "signals": ["/a"]}, "msgpack-wrong-type"),
        ({"type": "RESULT", "signals": [["/a", "param", None, None, None, None]]}, "msgpack-wrong-type"),
        ({"type": "FEDERATION_SYNC", "op": "SyncComplete", "revisions": []}, "msgpack-wrong-type"),
        ({"type": "BUNDLE", "messages": [1]}, "msgpack-wrong-type"),
        ({"type": "BUNDLE", "messages": [{}]}, "msgpack-missing-type"),
        ({"type": 19}, "msgpack-unknown-type"),
        ({"type": -1}, "msgpack-unknown-type"),
        ({"type": True}, "msgpack-unknown-type"),
        ({"type": None}, "msgpack-unknown-type"),
        ({"type": b"\xff"}, "msgpack-unknown-type"),
        ({"type": ["PING"]}, "msgpack-unknown-type"),
    ],
)
def test_what_is_refused(root: dict[Any, Any], kind: str) -> None:
    with pytest.raises(wire.WireError) as refusal:
        decode(root)
    assert refusal.value.kind == kind


def test_depth() -> None:
    keyframes = [{"time": 0, "value": nested(wire.MAX_VALUE_DEPTH)}]
    deepest: dict[str, Any] = PUBLISH | {"timeline": {"keyframes": keyframes}}
    for _ in range(wire.MAX_BUNDLE_DEPTH):
        deepest = {"type": "BUNDLE", "messages": [deepest]}
    assert isinstance(decode(deepest), wire.Bundle)
    for too_deep in (
        SET | {"value": nested(wire.MAX_VALUE_DEPTH + 1)},
        {"type": "ANNOUNCE", "namespace": "/n", "meta": {"k": nested(wire.MAX_VALUE_DEPTH)}},
        bundled(wire.MAX_BUNDLE_DEPTH + 1),
        {"type": "PING", "unknown": nested(500)},
    ):
        with pytest.raises(wire.WireError) as refusal:
            decode(too_deep)
        assert refusal.value.kind == "depth"


def test_a_timestamp_of_impossible_length_is_malformed() -> None:
    with pytest.raises(wire.WireError) as refusal:
        legacy.decode_payload(bytes.fromhex("82a474797065a450494e47a178d5ff0000"))
    assert refusal.value.kind == "msgpack-malformed"


def test_buffers_of_all_kinds() -> None:
    packed = msgpack.packb(SET)
    for buffer in (packed, bytearray(packed), memoryview(packed)):
        assert wire.decode_payload(buffer) == wire.Set("/a", None)
    with pytest.raises(wire.WireError) as refusal:
        legacy.decode_payload(b"")
    assert refusal.value.kind == "empty-payload"
