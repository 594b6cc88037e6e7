"""Taking SETs and SNAPSHOTs apart: what the codec reads, and nothing but Unreadable for what cannot be read."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.wire_strategies import BY_TYPE
from support.wire_vectors import all_vectors

from clasp_edge import wire
from clasp_edge.federation.shared.unpack import Unreadable, set_parts, snapshot_params
from clasp_edge.wire import ParamValue, Set, Snapshot, Ttl, encode_payload, encode_value


def set_again(parts: tuple[bytes, int, bytes, int, int], like: Set) -> Set:
    address, value_type, value, revision, ttl = parts
    return Set(
        address.decode(), wire.decode_value(value_type, value),
        revision=revision if like.revision is not None else None, lock=like.lock, unlock=like.unlock,
        ttl=Ttl.from_word(ttl) if ttl >= 0 else None,
    )  # fmt: skip


def param_again(parts: tuple[bytes, int, bytes, int, bytes, int], like: ParamValue) -> ParamValue:
    address, value_type, value, revision, writer, written_us = parts
    return ParamValue(
        address.decode(), wire.decode_value(value_type, value), revision,
        writer=writer.decode() if like.writer is not None else None,
        timestamp=written_us if like.timestamp is not None else None,
    )  # fmt: skip


@given(BY_TYPE[Set])
def test_a_set_is_what_the_codec_reads(message: Set) -> None:
    payload = encode_payload(message)
    read = wire.decode_payload(payload)
    assert isinstance(read, Set)
    again = set_again(set_parts(payload), read)
    assert encode_payload(again) == payload


@given(BY_TYPE[Snapshot])
def test_a_snapshot_is_what_the_codec_reads(message: Snapshot) -> None:
    payload = encode_payload(message)
    params = snapshot_params(payload)
    again = Snapshot(tuple(param_again(parts, like) for parts, like in zip(params, message.params, strict=True)))
    assert encode_payload(again) == payload
    for parts, like in zip(params, message.params, strict=True):
        assert parts[1:3] == encode_value(like.value)


@pytest.mark.parametrize("vector", all_vectors(), ids=lambda vector: vector.name)
def test_vectors(vector: object) -> None:
    frame: bytes = vector.frame  # type: ignore[attr-defined]
    payload = frame[12 if len(frame) > 1 and frame[1] & 0x20 else 4 :]
    for take, code in ((set_parts, 0x21), (snapshot_params, 0x23)):
        if payload[:1] != bytes((code,)):
            with pytest.raises(Unreadable):
                take(payload)
        elif vector.section == "invalid":  # type: ignore[attr-defined]
            with contextlib.suppress(Unreadable):  # what else may be wrong with it is the plane's or the codec's to say
                take(payload)
        else:
            take(payload)


@given(st.binary(max_size=80), st.sampled_from([b"", b"\x21", b"\x23", b"\x21\x00\x00\x01/", b"\x23\x00\x02\x00\x01/"]))
def test_whatever_comes_is_read_or_unreadable(data: bytes, head: bytes) -> None:
    for take in (set_parts, snapshot_params):
        with contextlib.suppress(Unreadable):
            take(head + data)


@given(BY_TYPE[Set] | BY_TYPE[Snapshot], st.data())
def test_what_is_cut_short_is_unreadable(message: wire.Message, data: st.DataObject) -> None:
    payload = encode_payload(message)
    take = set_parts if isinstance(message, Set) else snapshot_params
    with pytest.raises(Unreadable):
        take(payload[: data.draw(st.integers(0, len(payload) - 1))])
