"""Whatever arrives, the decoders answer with a message or a WireError, and what they accept can be sent on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.wire_vectors import all_vectors

from clasp_edge import wire
from clasp_edge.wire import compact, legacy

# Built vectors of 64 KiB would drown the mutations in copying.
SEEDS = [vector.frame for vector in all_vectors() if len(vector.frame) < 600]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A vector with some bytes replaced, removed, inserted, or with its end taken from another vector."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        how = draw(st.sampled_from(["replace", "remove", "insert", "graft"]))
        if how == "replace":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif how == "remove":
            del data[at : at + draw(st.integers(1, 4))]
        elif how == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=4))
        else:
            data[at:] = draw(st.sampled_from(SEEDS))[at:]
    return bytes(data)


def accept_or_refuse(payload: bytes) -> None:
    for decode in (wire.decode_payload, compact.decode_payload, legacy.decode_payload):
        try:
            message = decode(payload)
        except wire.WireError as refusal:
            assert str(refusal)
            continue
        sent_on = send_on(message)
        if sent_on is not None:
            assert compact.encode_payload(compact.decode_payload(sent_on)) == sent_on
    try:
        payloads = wire.split_bundle(payload)[1]
    except wire.WireError:
        return
    assert sum(map(len, payloads)) < len(payload)


def send_on(message: wire.Message) -> bytes | None:
    """A decoded message as v3, or None if it has outgrown the frame: widened numbers take more room."""
    try:
        return compact.encode_payload(message)
    except wire.WireError as refusal:
        assert refusal.kind == "too-large"
        return None


@given(st.binary(max_size=300))
def test_arbitrary_payloads(payload: bytes) -> None:
    accept_or_refuse(payload)


@given(st.sampled_from([code.value for code in wire.MessageType]), st.binary(max_size=100))
def test_arbitrary_fields_of_known_messages(code: int, rest: bytes) -> None:
    accept_or_refuse(bytes([code]) + rest)


@given(mutated())
def test_mutated_vectors(frame: bytes) -> None:
    accept_or_refuse(frame[4:])
    try:
        header, message = wire.decode(frame)
    except wire.WireError:
        return
    assert 0 <= header.qos <= 2
    assert isinstance(message.type, wire.MessageType)


@given(st.binary(max_size=40))
def test_arbitrary_frames(frame: bytes) -> None:
    try:
        wire.decode(frame)
    except wire.WireError:
        return
    assert frame[0] == wire.MAGIC


@pytest.mark.parametrize("code", range(256))
def test_a_type_byte_alone(code: int) -> None:
    accept_or_refuse(bytes([code]))
