"""v3 payloads: round trips of every message, what cannot be written, bundles split without decoding (wire.md 2.3)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.wire_strategies import BY_TYPE, messages, plain_messages

from clasp_edge import wire
from clasp_edge.wire.compact import decode_payload, encode_payload, join_bundle, split_bundle
from clasp_edge.wire.compact_decoder import READ_AT_ONCE


def test_every_message_type_has_a_strategy() -> None:
    assert {message.type for message in BY_TYPE} == set(wire.MessageType)


@pytest.mark.parametrize("message_class", BY_TYPE, ids=lambda message_class: message_class.__name__)
@given(data=st.data())
def test_round_trip(message_class: type, data: st.DataObject) -> None:
    message = data.draw(BY_TYPE[message_class])
    again = decode_payload(encode_payload(message))
    assert type(again) is message_class
    assert repr(again) == repr(message)


@given(messages, st.data())
def test_a_message_cut_anywhere_raises_only_wire_errors(message: Any, data: st.DataObject) -> None:
    payload = encode_payload(message)
    cut = data.draw(st.integers(0, len(payload) - 1))
    try:
        shorter = decode_payload(payload[:cut])
    except wire.WireError as refusal:
        assert refusal.kind == ("truncated-payload" if cut else "empty-payload")
    else:
        # Only the rate of a PUBLISH may be cut off unnoticed: nothing announces it.
        assert isinstance(message, wire.Publish)
        assert isinstance(shorter, wire.Publish)
        assert message.rate is not None


def test_value_wins_over_payload_and_payload_over_samples() -> None:
    publish = wire.Publish("/a", value=None, payload=2, samples=[3.0])
    assert decode_payload(encode_payload(publish)).value is None  # type: ignore[union-attr]
    publish.value = wire.ABSENT
    assert decode_payload(encode_payload(publish)).value == 2  # type: ignore[union-attr]


def test_a_publish_without_signal_or_phase_goes_out_as_event_and_start() -> None:
    again = decode_payload(encode_payload(wire.Publish("/a")))
    assert again == wire.Publish("/a", signal=wire.SignalType.EVENT, phase=wire.Phase.START)


def test_what_v3_has_no_place_for_is_dropped() -> None:
    hello = wire.Hello(1, "x", ["param", "x-own"], wire.Capabilities(encryption=True), token="")
    assert decode_payload(encode_payload(hello)) == wire.Hello(1, "x", ("param",))
    announce = wire.Announce("/n", [], {"bridge": True})
    assert decode_payload(encode_payload(announce)) == wire.Announce("/n")
    result = wire.Result([wire.Signal("/a", wire.SignalType.PARAM, meta=wire.SignalMeta("dB"))])
    assert decode_payload(encode_payload(result)) == wire.Result((wire.Signal("/a", wire.SignalType.PARAM),))
    welcome = wire.Welcome(1, "s", "n", ["event", "federation"], 0)
    assert decode_payload(encode_payload(welcome)) == wire.Welcome(1, "s", "n", ("event",), 0)


@pytest.mark.parametrize(
    ("ttl", "word"),
    [
        (wire.Ttl(wire.TtlMode.NEVER), 0),
        (wire.Ttl(wire.TtlMode.NEVER, 5), 0),
        (wire.Ttl(wire.TtlMode.SLIDING, 60), 60),
        (wire.Ttl(wire.TtlMode.SLIDING, 0), 0),
        (wire.Ttl(wire.TtlMode.ABSOLUTE, 0), 0x80000000),
        (wire.Ttl(wire.TtlMode.ABSOLUTE, 60), 0x8000003C),
        (wire.Ttl(wire.TtlMode.SLIDING, 0x80000001), 1),
    ],
)
def test_ttl_words(ttl: wire.Ttl, word: int) -> None:
    assert ttl.word == word


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (wire.Hello(256, "x"), "out-of-range"),
        (wire.Unsubscribe(2**32), "out-of-range"),
        (wire.Unsubscribe(-1), "out-of-range"),
        (wire.Sync(2**64), "out-of-range"),
        (wire.Error(65536, "m"), "out-of-range"),
        (wire.Publish("/a", samples=["x"]), "out-of-range"),  # type: ignore[list-item]
        (wire.Get("x" * 65536), "too-large"),
        (wire.Get(b"/a"), "unencodable"),  # type: ignore[arg-type]
        (wire.Publish("/a", samples=[0.0] * 65536), "too-large"),
        (wire.Set("/a", "x" * 65535), "too-large"),
        (wire.Bundle([wire.Ping()] * 65536), "too-large"),
        (wire.Bundle([wire.Set("/a", "x" * 65528)]), "too-large"),
        (wire.Get("/\udc80"), "bad-utf8"),
        ("PING", "unencodable"),
    ],
)
def test_what_cannot_be_written(message: Any, kind: str) -> None:
    with pytest.raises(wire.WireError) as refusal:
        encode_payload(message)
    assert refusal.value.kind == kind


def in_steps(payload: bytes) -> tuple[int, wire.Message]:
    """How many pauses there are, and the message."""
    steps = wire.decode_payload_in_steps(payload)
    pauses = 0
    try:
        while True:
            next(steps)
            pauses += 1
    except StopIteration as end:
        return pauses, end.value


@pytest.mark.parametrize("count", [0, 1, READ_AT_ONCE, 10 * READ_AT_ONCE + 1])
def test_lists_are_read_in_steps(count: int) -> None:
    """All that a frame can hold takes ten milliseconds at once."""
    signals = tuple(wire.Signal(f"/{number}", wire.SignalType.PARAM) for number in range(count))
    texts = tuple(signal.address for signal in signals)
    for message in (
        wire.Announce("n", signals),
        wire.Result(signals),
        wire.Snapshot(tuple(wire.ParamValue(text, 1, 1) for text in texts)),
        wire.FederationSync(wire.FederationOp.DECLARE_NAMESPACES, texts),
        wire.FederationSync(wire.FederationOp.REVISION_VECTOR, (), dict.fromkeys(texts, 7)),
    ):
        payload = encode_payload(message)
        assert in_steps(payload) == (count // READ_AT_ONCE, message)
        assert decode_payload(payload) == message
        with pytest.raises(wire.WireError):
            in_steps(payload[:-1])


@given(message=plain_messages)
def test_every_message_is_the_same_in_steps(message: Any) -> None:
    payload = encode_payload(message)
    assert repr(in_steps(payload)[1]) == repr(decode_payload(payload))


def bundled(depth: int) -> bytes:
    payload = b"\x41"
    for _ in range(depth):
        payload = b"\x30\x00\x00\x01" + len(payload).to_bytes(2) + payload
    return payload


def test_bundle_depth() -> None:
    deepest = bundled(wire.MAX_BUNDLE_DEPTH)
    message = decode_payload(deepest)
    assert encode_payload(message) == deepest
    assert split_bundle(deepest) == (None, [b"\x41"])
    for refused in (decode_payload, split_bundle):
        with pytest.raises(wire.WireError) as refusal:
            refused(bundled(wire.MAX_BUNDLE_DEPTH + 1))
        assert refusal.value.kind == "depth"
    with pytest.raises(wire.WireError) as refusal:
        encode_payload(wire.Bundle([message]))
    assert refusal.value.kind == "depth"


def test_splitting_flattens_in_order_and_keeps_the_outer_timestamp_only() -> None:
    inner = wire.Bundle([wire.Get("/b"), wire.Get("/c")], timestamp=7)
    payload = encode_payload(wire.Bundle([wire.Get("/a"), inner, wire.Get("/d")], timestamp=5))
    timestamp, payloads = split_bundle(bytearray(payload))
    assert timestamp == 5
    assert [decode_payload(part) for part in payloads] == [wire.Get(address) for address in ("/a", "/b", "/c", "/d")]


@given(st.lists(plain_messages, max_size=5))
def test_splitting_gives_the_bytes_of_each_message(inner: list[Any]) -> None:
    payloads = split_bundle(encode_payload(wire.Bundle(inner)))[1]
    assert payloads == [encode_payload(message) for message in inner]
    assert join_bundle(payloads) == encode_payload(wire.Bundle(inner))


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        ("", "empty-payload"),
        ("41", "unknown-message-type"),
        ("30", "truncated-payload"),
        ("300000", "truncated-payload"),
        ("3080000100", "truncated-payload"),
        ("30000002000141", "truncated-payload"),
        ("30000001000241", "truncated-payload"),
        ("300000010000", "empty-payload"),
        ("3000000100017f", "unknown-message-type"),
        ("30000001000180", "unknown-message-type"),
        ("300000010003300000", "truncated-payload"),
    ],
)
def test_bundles_that_cannot_be_split(payload: str, kind: str) -> None:
    with pytest.raises(wire.WireError) as refusal:
        split_bundle(bytes.fromhex(payload))
    assert refusal.value.kind == kind


def test_an_error_says_what_and_where() -> None:
    with pytest.raises(wire.WireError, match=r"payload of 4 bytes ends inside the address \(at byte 1\)"):
        decode_payload(bytes.fromhex("22000561"))
