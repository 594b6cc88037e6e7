"""Maps that are merged as bytes are what dicts would be, and what is no map is refused."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.dataplane.maps import merge_maps
from clasp_edge.wire import Value, ValueType, decode_value
from clasp_edge.wire.values import encode_value

keys = st.text(max_size=12) | st.sampled_from(["a", "b", "level"])
values: st.SearchStrategy[Value] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=9) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=5,
)
entries = st.lists(st.tuples(keys, values), max_size=40)


def data_of(pairs: list[tuple[str, Value]]) -> bytes:
    """A map as it may come from anybody: also with a key that is repeated."""
    parts = [len(pairs).to_bytes(2, "big")]
    for key, value in pairs:
        value_type, data = encode_value(value)
        text = key.encode()
        parts += [len(text).to_bytes(2, "big"), text, bytes([value_type]), data]
    return b"".join(parts)


@given(entries, entries)
def test_it_is_what_a_dict_would_be_in_its_order(old: list[tuple[str, Value]], new: list[tuple[str, Value]]) -> None:
    merged = merge_maps(data_of(old), data_of(new))
    wanted = {**dict(old), **dict(new)}
    assert merged == data_of(list(wanted.items()))
    assert decode_value(ValueType.MAP, merged) == wanted


@given(st.binary(max_size=60), entries)
def test_what_is_no_map_is_refused_or_read_as_one(garbage: bytes, pairs: list[tuple[str, Value]]) -> None:
    for old, new in ((garbage, data_of(pairs)), (data_of(pairs), garbage)):
        try:
            merged = merge_maps(old, new)
        except ValueError:
            continue
        assert len(merged) <= len(old) + len(new)


@given(entries.filter(bool), st.integers(1, 200))
def test_a_map_that_ends_too_early_is_refused(pairs: list[tuple[str, Value]], missing: int) -> None:
    whole = data_of(pairs)
    for begin in (whole[: max(0, len(whole) - missing)], b""):
        with pytest.raises(ValueError, match="not a map"):
            merge_maps(begin, whole)


def test_one_entry_of_a_large_map_is_changed_in_little_time() -> None:
    """It took an object for each key and each value: 200 us for 2,500 of them, a thousand times a second."""
    old, new = data_of([(f"key{number:05d}", number) for number in range(2500)]), data_of([("key00000", 1)])
    bare: dict[bytes, bytes] = {}

    def as_objects() -> None:
        for at in range(2500):
            begin = 2 + at * 19
            bare[old[begin : begin + 10]] = old[begin + 10 : begin + 19]

    def least_s(act: Callable[[], object]) -> float:
        took = []
        for _ in range(20):
            began_s = time.thread_time()
            act()
            took.append(time.thread_time() - began_s)
        return min(took)

    assert len(merge_maps(old, new)) == len(old)
    assert least_s(lambda: merge_maps(old, new)) < 0.5 * least_s(as_objects)
