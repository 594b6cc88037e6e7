"""Every shared vector through the public door: decoded as described, re-encoded as upstream does, or refused."""

from __future__ import annotations

import pytest
from support.wire_vectors import (
    Vector,
    all_vectors,
    canonical_json,
    describe,
    holds_nan,
    invalid_vectors,
    payload_of,
    valid_vectors,
)

from clasp_edge import wire
from clasp_edge.wire import compact

VALID = pytest.mark.parametrize("vector", valid_vectors(), ids=lambda vector: vector.name)
INVALID = pytest.mark.parametrize("vector", invalid_vectors(), ids=lambda vector: vector.name)

BUNDLES = pytest.mark.parametrize(
    "vector", [vector for vector in valid_vectors() if vector.payload[0] == 0x30], ids=lambda vector: vector.name
)


def test_all_vectors_are_here() -> None:
    assert len(all_vectors()) == 878
    assert len(valid_vectors()) == 653


@VALID
def test_decodes_as_described(vector: Vector) -> None:
    header, message = wire.decode(vector.frame)
    assert canonical_json(describe(message)) == canonical_json(vector.entry["message"])
    assert {name: describe(getattr(header, name)) for name in header.__slots__} == vector.entry["frame"]


@VALID
def test_encodes_as_upstream_does(vector: Vector) -> None:
    _, message = wire.decode(vector.frame)
    payload = wire.encode_payload(message)
    again = wire.decode_payload(payload)
    assert canonical_json(describe(wire.decode_payload(wire.encode_payload(again)))) == canonical_json(describe(again))
    if vector.entry["canonical"] is True:
        expected = vector.payload
    elif "upstream_reencodes_as" in vector.entry:
        frame = bytes.fromhex(vector.entry["upstream_reencodes_as"])
        expected = payload_of(frame)
        assert wire.encode(message)[:4] == frame[:4], "flags and length"
    else:
        # A map of two keys or more: upstream's order of entries is random, so only the meaning can be compared.
        assert vector.entry["canonical"] == "map-order"
        expected = vector.payload if vector.entry["encoding"] == "v3" else payload
        assert len(payload) == len(expected)
        assert canonical_json(describe(again)) == canonical_json(vector.entry["message"])
        return
    if holds_nan(vector.entry["message"]):
        # Which NaN it is may depend on the processor (f32 to f64 quiets a signalling one).
        assert len(payload) == len(expected)
        return
    assert payload == expected


@INVALID
def test_refuses_with_the_class(vector: Vector) -> None:
    with pytest.raises(wire.WireError) as refusal:
        wire.decode(vector.frame)
    assert refusal.value.kind == vector.entry["error"]


@VALID
def test_views_and_bytearrays_are_buffers_too(vector: Vector) -> None:
    expected = canonical_json(describe(wire.decode(vector.frame)))
    for buffer in (bytearray(vector.frame), memoryview(b"\0\0" + vector.frame)[2:]):
        assert canonical_json(describe(wire.decode(buffer))) == expected


@BUNDLES
def test_splitting_a_bundle_agrees_with_decoding_it(vector: Vector) -> None:
    message = wire.decode(vector.frame)[1]
    assert isinstance(message, wire.Bundle)
    timestamp, payloads = wire.split_bundle(vector.payload)
    assert timestamp == message.timestamp
    flat = _flatten(describe(message))
    assert [describe(compact.decode_payload(payload)) for payload in payloads] == flat


def _flatten(described: dict[str, object]) -> list[object]:
    flat: list[object] = []
    messages = described["messages"]
    assert isinstance(messages, list)
    for inner in messages:
        flat.extend(_flatten(inner) if inner["type"] == "BUNDLE" else [inner])
    return flat
