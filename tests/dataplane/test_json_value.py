"""JSON that is read in one pass means what it means to the slow way, byte for byte, and so does what is no JSON."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clasp_edge.dataplane.payload import typed_payload
from clasp_edge.devices.values import encoded_value_of, use_in_dataplane

use_in_dataplane()

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.integers(-1000, 1000)
    | st.floats()
    | st.decimals(-1000, 1000, places=2).map(float)
    | st.text(max_size=8)
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner, max_size=5)
)
LAYOUTS: tuple[dict[str, object], ...] = (
    {},
    {"separators": (",", ":")},
    {"indent": 2},
    {"ensure_ascii": False},
    {"separators": (" , ", "\t:\r\n")},
)


def _same(payload: bytes) -> None:
    code, data, exact = typed_payload(payload)
    assert (code, data) == encoded_value_of(payload)
    if payload[:1] in (b"{", b"[", b'"'):
        assert not exact


@given(VALUES, st.sampled_from(LAYOUTS), st.sampled_from(["", " ", "\n", "x"]))
def test_json_as_others_write_it(value: object, layout: dict[str, object], end: str) -> None:
    _same((json.dumps(value, **layout) + end).encode("utf-8", "surrogatepass"))  # type: ignore[arg-type]


@given(VALUES, st.randoms(use_true_random=False))
def test_json_with_a_fault(value: object, chance: random.Random) -> None:
    text = bytearray(json.dumps([value], ensure_ascii=False).encode("utf-8", "surrogatepass"))
    for _ in range(chance.randrange(1, 3)):
        at = chance.randrange(len(text))
        if chance.random() < 0.5:
            text[at] = chance.choice(b'{}[]",:\\0123456789.eE+-tfn \x00\x1f\xff\xc3')
        else:
            del text[at : at + chance.randrange(1, 4)]
        if not text:
            return
    _same(bytes(text))


NUMBER = st.from_regex(rb"\A-?[0-9]{1,20}(\.[0-9]{0,20})?([eE][+-]?[0-9]{0,4})?\Z")


@given(NUMBER)
@example(b"0.1")
@example(b"-0")
@example(b"-0.0")
@example(b"01")
@example(b"1.")
@example(b"1e22")
@example(b"123456789012345e22")
@example(b"9007199254740993.0")
@example(b"1e-22")
@example(b"1e400")
@example(b"999999999999999999")
@example(b"9223372036854775808")
def test_numbers(number: bytes) -> None:
    _same(b"[" + number + b"]")


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":1,"a":2}',
        b'{"a":{"a":1},"b":{"a":2}}',
        b'[{"a":1},{"a":2}]',
        b'{"":1,"":2}',
        b'"\\u00e9"',
        b'"\\ud83d\\ude00"',
        b'"\\ud83d"',
        b'"a\\n\\t\\"\\\\\\/\\b\\f\\r"',
        b'"a\nb"',
        b'"\xc3\xa9"',
        b'"\xc3"',
        b'["\xff", 1]',
        b'"',
        b'"\\',
        b"[",
        b"[1,]",
        b"{,}",
        b'{"a"}',
        b"[1 2]",
        b"[]",
        b"{}",
        b"[" * 32 + b"]" * 32,
        b"[" * 33 + b"]" * 33,
        b"[" * 65 + b"]" * 65,
        b"[tru]",
        b"[true, false, null]",
        b"[] []",
        b"[2026-11-28 20:15] the pump is on",
        b"[INFO] ready",
        b"[NaN]",
        b"[Infinity, -Infinity]",
        b"[nul]",
        b"{temperature: 21}",
        b'{"a":1,"tex',
        b'{"a":1,}',
        b'{"a" 1}',
        b'{"a":',
        b"[1",
        b"[\xff",
        b'"a" and "b" \xff',
        b"[1] \xc3\xa9",
        b'"a" b' + b" " * 65_000,
        b'{"%s":1}' % (b"k" * 60_000),
    ],
)
def test_odd_ones(payload: bytes) -> None:
    _same(payload)


def test_as_many_keys_as_there_can_be() -> None:
    _same(json.dumps({f"{number:x}": 0 for number in range(4000)}, separators=(",", ":")).encode())


def test_a_value_that_no_frame_holds_is_not_made() -> None:
    """Four and a half bytes for each of the text: what becomes of it is for the caller to say."""
    with pytest.raises(ValueError, match="too long"):
        typed_payload(b"[" + b"1," * 20_000 + b"1]")


@pytest.mark.parametrize("special", [b"", b'\\"', b"\\\\", b"\\n", b"\n", b"\x1f", b"\xc3\xa9", b"\xff", b"\x22"])
def test_strings_are_read_eight_bytes_at_a_time(special: bytes) -> None:
    """Whatever stands where, also in the last bytes, where there are no eight, and in keys that differ in one byte."""
    for size in range(19):
        for at in range(size + 1):
            text = b"!" * at + special + b"~" * (size - at)
            _same(b'"%s"' % text)
            _same(b'["%s", "%s"  ]' % (text, text))
            _same(b'{"%s": 1, "a%s": 2, "%sb": "%s"}' % (text, text, text, text))
    for size in (1, 2, 3, 4, 7, 8, 9, 16, 17):
        keys = [b"k" * at + b"K" + b"k" * (size - 1 - at) for at in range(size)]
        assert typed_payload(b"{%s}" % b",".join(b'"%s":1' % key for key in keys))[1][:2] == size.to_bytes(2, "big")
