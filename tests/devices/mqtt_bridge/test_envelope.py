"""What clasp-edges say to each other inside a payload."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.devices.mqtt_bridge.envelope import CLEARED, MAGIC, UNRETAINED, VALUE_OF_CLIENT, Content, opened, sealed
from clasp_edge.devices.mqtt_bridge.events import Arrived

CONTENTS = st.builds(
    Content, st.text(max_size=16), st.integers(0, 2**63 - 1), st.sampled_from(["param", "event", "stream"]),
    st.integers(0, 2**63 - 1), st.booleans(), st.lists(st.text(max_size=12), max_size=16),
    st.integers(UNRETAINED, 255), st.binary(max_size=200), st.integers(-1, 2**32 - 1),
    st.sampled_from([b"", b"\x01\x01", b"\x03\x00\x01x\x09\x00\x02\xff\x00", b"\x26\x00\x01a\x00\x01b" * 3]),
)  # fmt: skip


def arrived(payload: bytes) -> Arrived:
    return Arrived("t", payload, False, "", (), False, 0, False)


@given(CONTENTS)
def test_what_is_sealed_is_found_again(content: Content) -> None:
    message, found = opened(arrived(sealed(content)))
    assert found == content
    assert (message.payload, message.signal, message.via) == (content.data, content.signal, tuple(content.via))
    assert (message.version, message.again, message.properties) == (content.version, content.again, content.properties)


@given(st.binary(max_size=100), CONTENTS, st.data())
def test_nothing_else_is_taken_for_it(noise: bytes, content: Content, data: st.DataObject) -> None:
    whole = sealed(content)
    end = data.draw(st.integers(0, len(whole) - 1))
    for payload in (noise, MAGIC + noise, whole[:end], b"1", b"\xff"):
        try:
            _, found = opened(arrived(payload))
        except ValueError:
            continue
        assert sealed(found)  # noise that is a content, by chance


@pytest.mark.parametrize(
    "changed",
    [
        (0, "x" * 65),
        (1, -1),
        (1, 2**63),
        (3, -1),
        (5, ["x"] * 65),
        (5, ["x" * 65]),
        (6, UNRETAINED - 1),
        (6, 256),
        (8, 2**32),
        (8, -2),
        (9, b"\x26\x00\x01a"),
        (9, b"\x01\x02"),
        (9, b"\x03\x00\x01\xff"),
        (9, b"\x23\x00\x01"),
        (9, b"\x02\x00\x00\x00\x01"),
        (9, b"\x7f"),
    ],
)
def test_what_is_out_of_range_is_refused(changed: tuple[int, object]) -> None:
    fields: list[object] = ["o", 1, "event", 0, False, [], VALUE_OF_CLIENT, b"x", -1, b""]
    assert opened(arrived(MAGIC + msgspec.msgpack.encode(fields)))
    fields[changed[0]] = changed[1]
    with pytest.raises(ValueError, match="damaged"):
        opened(arrived(MAGIC + msgspec.msgpack.encode(fields)))
    assert CLEARED in range(UNRETAINED, 256)
