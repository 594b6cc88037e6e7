"""Which addresses a write or a GET may name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.wire.address import AddressError, validate_address
from clasp_edge.wire.limits import MAX_ADDRESS_BYTES, MAX_ADDRESS_SEGMENTS
from clasp_edge.wire.pattern import Pattern, PatternError

LONGEST = b"/" + b"a" * (MAX_ADDRESS_BYTES - 1)
DEEPEST = b"/a" * MAX_ADDRESS_SEGMENTS


@pytest.mark.parametrize(
    "address",
    [b"/", b"/a", b"/a/", b"/a/b/c", b"/a b", b"/#?[{\\", "/ü/灯".encode(), LONGEST, DEEPEST],
)
def test_accepts(address: bytes) -> None:
    validate_address(address)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (b"", "empty"),
        (b"a", "start with '/'"),
        (b" /a", "start with '/'"),
        ("éa".encode(), "start with '/'"),
        (b"//", "empty segment"),
        (b"//a", "empty segment"),
        (b"/a//b", "empty segment"),
        (b"/a//", "empty segment"),
        (b"/a/*", r"'\*'"),
        (b"/**", r"'\*'"),
        (b"/a*b", r"'\*'"),
        (LONGEST + b"a", "1025 bytes"),
        (DEEPEST + b"/", "65 segments"),
        (b"/a/\xff", "UTF-8 at byte 3"),
        (b"/\xed\xa0\x80", "UTF-8"),
    ],
)
def test_refuses_with_a_reason(address: bytes, reason: str) -> None:
    with pytest.raises(AddressError, match=reason):
        validate_address(address)


@given(st.lists(st.sampled_from([b"/", b"a", b"*", b"\xc3", b"\xa4", b"{"]), max_size=8).map(b"".join))
def test_addresses_are_the_literal_patterns(text: bytes) -> None:
    """One notion of validity (wire.md 4.1): what a write may name is what a pattern without `*` may be."""
    try:
        literal = Pattern(text).literal
    except PatternError:
        literal = False
    if literal:
        validate_address(text)
    else:
        with pytest.raises(AddressError):
            validate_address(text)
