"""What is stored of a session reads back as it was, and anything else is refused in words."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.devices.mqtt.session_record import (
    FORM,
    BadRecord,
    Entry,
    HeldRecord,
    Place,
    SessionRecord,
    WillRecord,
    decode_place,
    decode_session,
    encode_place,
    encode_session,
)

U64 = st.integers(0, 2**64 - 1)
PLACES = st.builds(
    Place, U64, U64, U64, st.booleans(),
    st.lists(st.builds(Entry, U64, st.integers(0, 4), st.integers(1, 2), st.booleans()), max_size=5),
    st.lists(st.integers(1, 65535), max_size=5, unique=True),
)  # fmt: skip
WILLS = st.builds(
    WillRecord, st.text(), st.binary(), st.integers(0, 2), st.booleans(),
    st.fixed_dictionaries({}, optional={0x18: st.integers(0, 2**32 - 1), 0x03: st.text(), 0x09: st.binary()}),
    st.floats(0, 1e9),
)  # fmt: skip
SESSIONS = st.builds(
    SessionRecord, st.just(FORM), st.sampled_from([4, 5]), st.integers(0, 2**32 - 1), st.none() | st.text(), U64,
    st.floats(0, 1e9), U64, st.booleans(),
    st.lists(st.builds(HeldRecord, st.text(), st.integers(0, 15), st.integers(0, 268_435_455), U64), max_size=3),
    st.none() | WILLS,
)  # fmt: skip


@given(PLACES)
def test_a_place_reads_back(place: Place) -> None:
    assert decode_place(encode_place(place)) == place


@pytest.mark.parametrize("count", [4096, 4097, 65535])
def test_many_unreleased_identifiers_take_eight_kib_at_most(count: int) -> None:
    place = Place(1, 2, 3, False, [Entry(9, 1, 2, True)], list(range(65536 - count, 65536)))
    data = encode_place(place)
    assert decode_place(data) == place
    assert len(data) < 8192 + 100
    with pytest.raises(BadRecord):
        decode_place(data[:-1])


@given(SESSIONS)
def test_a_session_reads_back(record: SessionRecord) -> None:
    assert decode_session(encode_session(record)) == record


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for decode in (decode_place, decode_session):
        with contextlib.suppress(BadRecord):
            decode(data)


def test_other_forms_are_refused() -> None:
    place = bytearray(encode_place(Place(1, 2, 3, False, [], [])))
    place[0] = FORM + 1
    with pytest.raises(BadRecord, match=f"form {FORM + 1}"):
        decode_place(bytes(place))
    session = SessionRecord(FORM + 1, 5, 60, None, 0, 60.0, 0, True, [], None)
    with pytest.raises(BadRecord, match=f"form {FORM + 1}"):
        decode_session(encode_session(session))
