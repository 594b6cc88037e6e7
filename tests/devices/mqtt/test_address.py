"""Topics and addresses stand for each other one to one, and a pattern takes what its filter takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.devices.mqtt.address import check_filter, to_address, to_pattern, to_topic
from clasp_edge.devices.mqtt.codec import MqttError
from clasp_edge.devices.mqtt.sys_topics import matches
from clasp_edge.wire.address import validate_address
from clasp_edge.wire.pattern import Pattern

letters = st.text("ab%*25A", max_size=5)
topics = st.lists(letters, min_size=1, max_size=5).map("/".join).filter(bool)
filters = st.tuples(st.lists(letters | st.just("+"), min_size=1, max_size=4), st.booleans()).map(
    lambda made: "/".join([*made[0], "#"] if made[1] else made[0])
)


@given(topics)
def test_a_topic_has_an_address_of_its_own(topic: str) -> None:
    address = to_address(topic.encode())
    validate_address(b"/mqtt/" + address)
    assert to_topic(address) == topic.encode()


@pytest.mark.parametrize(
    ("topic", "address"),
    [
        ("a/b", "a/b"),
        ("/a", "%/a"),
        ("a//b", "a/%/b"),
        ("a/", "a/%"),
        ("/", "%/%"),
        ("50%", "50%"),
        ("%", "%25"),
        ("a*", "a%2A"),
        ("%2A", "%252A"),
    ],
)
def test_spellings(topic: str, address: str) -> None:
    assert to_address(topic.encode()) == address.encode()


@given(filters.filter(bool), topics)
def test_patterns_take_what_filters_take(text: str, topic: str) -> None:
    check_filter(text)
    pattern = Pattern(to_pattern("/mqtt", text))
    assert pattern.matches(b"/mqtt/" + to_address(topic.encode())) == matches(text, topic)


@pytest.mark.parametrize("text", ["", "a#", "#/a", "a/#/b", "a+", "+a/b", "a/b+"])
def test_what_is_no_filter(text: str) -> None:
    with pytest.raises(MqttError):
        check_filter(text)
