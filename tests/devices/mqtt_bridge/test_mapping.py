"""Topics and addresses: which map fits, what the wildcards carry over, and what has no counterpart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.config.model import BridgeMap
from clasp_edge.devices.mqtt_bridge.mapping import MappingError, MappingTable

LEVELS = st.text(st.characters(codec="utf-8", exclude_characters="/+#*\0$"), min_size=1, max_size=5)


def table(*maps: tuple[str, str], direction: str = "both") -> MappingTable:
    return MappingTable(tuple(BridgeMap(topic=t, address=a, direction=direction) for t, a in maps))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("maps", "topic", "address"),
    [
        ([("site/+/temp", "/site/*/temp")], "site/7/temp", "/site/7/temp"),
        ([("zigbee2mqtt/#", "/z/**")], "zigbee2mqtt/lamp/state", "/z/lamp/state"),
        ([("#", "/mqtt/**")], "a/b", "/mqtt/a/b"),
        ([("stage/#", "/**")], "stage/a/b", "/a/b"),
        ([("a/+/b/+/#", "/x/*/*/y/**")], "a/1/b/2/3/4", "/x/1/2/y/3/4"),
        ([("site/#", "/x/**")], "site", "/x"),
        ([("a/b", "/c")], "a/b", "/c"),
        ([("a/b", "/first"), ("a/+", "/rest/*")], "a/b", "/first"),
        ([("a/b", "/first"), ("a/+", "/rest/*")], "a/c", "/rest/c"),
    ],
)
def test_both_ways(maps: list[tuple[str, str]], topic: str, address: str) -> None:
    both = table(*maps)
    assert both.inward(topic)[1] == address.encode()
    found = both.outward(address.encode())
    assert found is not None
    assert found[1] == topic


@pytest.mark.parametrize(
    ("maps", "topic"),
    [
        ([("site/+/temp", "/site/*/temp")], "site/7/8/temp"),
        ([("site/+/temp", "/site/*/temp")], "site/temp"),
        ([("site/+", "/site/*")], "Site/7"),
        ([("#", "/mqtt/**")], "$SYS/broker/uptime"),
        ([("+/x", "/mqtt/*")], "$SYS/x"),
        ([("#", "/mqtt/**")], "a//b"),
        ([("#", "/mqtt/**")], "/a"),
        ([("#", "/mqtt/**")], "a*"),
        ([("#", "/mqtt/**")], "/".join("x" * 70)),
        ([("#", "/**")], "clasp-edge/bridges/b/state"),
    ],
)
def test_topics_without_an_address(maps: list[tuple[str, str]], topic: str) -> None:
    with pytest.raises(MappingError):
        table(*maps).inward(topic)


@pytest.mark.parametrize(
    "address",
    ["/y/a", "/x/a+", "/x/a#b", "/x/a\0", "/x/$SYS/a", "/x", "/clasp-edge/bridges/b/state"],
)
def test_addresses_that_are_not_carried_out(address: str) -> None:
    assert table(("#", "/x/**"), ("ours/#", "/clasp-edge/**")).outward(address.encode()) is None


def test_directions() -> None:
    inward, outward = table(("a", "/a"), direction="in"), table(("a", "/a"), direction="out")
    assert inward.inward("a")[1] == b"/a"
    assert inward.outward(b"/a") is None
    assert outward.outward(b"/a") is not None
    with pytest.raises(MappingError):
        outward.inward("a")


@given(st.lists(LEVELS, min_size=2, max_size=6))
def test_what_has_an_address_comes_back_as_the_same_topic(levels: list[str]) -> None:
    maps = table(("s/+/#", "/deep/down/*/**"))
    topic = "/".join(["s", *levels])
    mapping, address = maps.inward(topic)
    assert maps.outward(address) == (mapping, topic)


def test_ever_new_addresses_are_not_all_remembered() -> None:
    maps = table(("#", "/x/**"))
    for number in range(10_000):
        maps.outward(f"/x/{number}".encode())
        maps.inward(f"t/{number}")
    assert len(maps._outward) < 5000
    assert len(maps._inward) < 5000
