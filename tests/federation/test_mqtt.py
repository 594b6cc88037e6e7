"""What an MQTT client published reaches another one, at another router, as it was published; and only what was retained
is retained there: live, after outages and restarts, over one link and two, where a token is narrow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep as sleep_s

import pytest
from support.daemon import Daemon
from support.federated import JOURNAL, await_down, await_up, await_value, box, uplink, value
from support.live import eventually
from support.mqtt_client import Broker, MqttClient, fresh
from support.mqtt_packets import Publish

PAYLOADS = [
    b"21.50", b"007", b"1e3", b"12345678901234567890", b'{"a": 1}', b'"x"', b"5\n", b"ON", b"\xff\x00", b"true", b"1",
    b"[1, 2]", b" ",
]  # fmt: skip

PROPERTIES = {
    "payload_format_indicator": 1, "content_type": "text/plain", "response_topic": "re/ply",
    "correlation_data": b"\x01\x02",
    "user_property": [("k", "v"), ("k", "w")],
}  # fmt: skip

EVENTS = "[mqtt]\nevents = ['+/go/#']\n"


class Chain:
    """A hub, a router below it, and one below that; an MQTT client at each end."""

    def __init__(self, hub: Daemon, middle: Daemon, leaf: Daemon) -> None:
        self.hub, self.middle, self.leaf = hub, middle, leaf


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    carried = {"owns": ["/mqtt/stage/**"], "wants": ["/mqtt/show/**"]}
    with (
        Daemon(mqtt=True, config=EVENTS) as hub,
        box(uplink(hub.ws_url, **carried), sets=JOURNAL, mqtt=True, extra=EVENTS) as middle,
        box(uplink(middle.ws_url, **carried), sets=JOURNAL, mqtt=True, extra=EVENTS) as leaf,
    ):
        await_up(middle)
        await_up(leaf)
        yield Chain(hub, middle, leaf)


@contextmanager
def brokers(*daemons: Daemon) -> Iterator[list[Broker]]:
    found = [Broker(daemon.mqtt_address) for daemon in daemons]
    try:
        yield found
    finally:
        for broker in found:
            broker.leave()


def retained(daemon: Daemon, topic: str) -> list[Publish]:
    """What a late subscriber gets."""
    with brokers(daemon) as (broker,):
        return broker.client().subscribe_with_retained(topic)[1]


def await_retained(daemon: Daemon, topic: str, payload: bytes | None) -> None:
    wanted = [] if payload is None else [payload]
    eventually(lambda: [found.payload for found in retained(daemon, topic)] == wanted, 15.0)


def ends(chain: Chain, up: bool) -> tuple[Daemon, Daemon, str]:
    return (chain.leaf, chain.hub, "stage") if up else (chain.hub, chain.leaf, "show")


both_ways = pytest.mark.parametrize("up", [True, False], ids=["up", "down"])


@both_ways
@pytest.mark.parametrize("kind", ["retained", "unretained", "event"])
def test_bytes_arrive_as_they_were(chain: Chain, up: bool, kind: str) -> None:
    here, there, area = ends(chain, up)
    base = f"{area}/{'go' if kind == 'event' else 'to'}/{fresh()}"
    with brokers(here, there) as (near, far):
        listener = far.client()
        listener.subscribe(f"{base}/#", options=1 | 8)  # retain as published
        device = near.client()
        for number, payload in enumerate(PAYLOADS):
            device.publish(f"{base}/{number}", payload, qos=1, retain=kind == "retained", props=PROPERTIES)
            found = listener.receive(payload)
            assert found.topic == f"{base}/{number}"
            assert found.retain is (kind == "retained")
            assert {name: found.properties.get(name) for name in PROPERTIES} == PROPERTIES
        assert listener.publishes() == []
    assert len(retained(there, f"{base}/#")) == (len(PAYLOADS) if kind == "retained" else 0)
    assert len(retained(chain.middle, f"{base}/#")) == (len(PAYLOADS) if kind == "retained" else 0)


@both_ways
def test_the_value_of_an_unretained_message_is_a_param_everywhere(chain: Chain, up: bool) -> None:
    here, there, area = ends(chain, up)
    topic = f"{area}/{fresh()}"
    with brokers(here) as (near,):
        near.client().publish(topic, b"21.50", qos=1)
    await_value(there, f"/mqtt/{topic}", 21.5)
    assert retained(there, topic) == []


@both_ways
def test_what_is_retained_stays_so_beside_a_newer_value(chain: Chain, up: bool) -> None:
    here, there, area = ends(chain, up)
    topic = f"{area}/{fresh()}"
    with brokers(here) as (near,):
        device = near.client()
        device.publish(topic, b"007", qos=1, retain=True)
        device.publish(topic, b"008", qos=1)
        await_value(there, f"/mqtt/{topic}", 8.0)
        await_retained(there, topic, b"007")
        device.publish(topic, b"", qos=1, retain=True)
        await_retained(there, topic, None)


@both_ways
def test_quality_and_expiry_arrive(chain: Chain, up: bool) -> None:
    here, there, area = ends(chain, up)
    base = f"{area}/{fresh()}"
    with brokers(here, there) as (near, far):
        listener = far.client()
        listener.subscribe(f"{base}/#", options=2)
        device = near.client()
        for qos in (0, 1, 2):
            for payload in (b"1", b"1.0", b"on"):
                device.publish(f"{base}/{qos}", payload, qos=qos, retain=True, props={"message_expiry_interval": 500})
                found = listener.receive(payload)
                assert found.qos == qos
                assert 490 < found.properties["message_expiry_interval"] <= 500
            (kept,) = retained(there, f"{base}/{qos}")
            assert 490 < kept.properties["message_expiry_interval"] <= 500


@both_ways
@pytest.mark.parametrize("size", [70_000, 500_000])
@pytest.mark.parametrize("retain", [True, False])
def test_large_messages_arrive_whole(chain: Chain, up: bool, size: int, retain: bool) -> None:
    here, there, area = ends(chain, up)
    topic = f"{area}/{fresh()}"
    payload = bytes(i * 7 & 0xFF for i in range(size))
    with brokers(here, there) as (near, far):
        listener = far.client()
        listener.subscribe(topic, options=1)
        near.client().publish(topic, payload, qos=1, retain=retain, props=PROPERTIES)
        assert listener.receive().payload == payload
    assert [found.payload for found in retained(there, topic)] == ([payload] if retain else [])


# ---- outages ----


@contextmanager
def pair(hub_sets: dict[str, object] | None = None, **carried: object) -> Iterator[tuple[Daemon, Daemon]]:
    """A hub and a box with journals."""
    with Daemon(mqtt=True, sets=hub_sets if hub_sets is not None else dict(JOURNAL), config=EVENTS) as hub:
        carries = {"owns": ["/mqtt/stage/**"], "wants": ["/mqtt/show/**"]} | carried
        with box(uplink(hub.ws_url, **carries), sets=JOURNAL, mqtt=True, extra=EVENTS) as leaf:
            await_up(leaf)
            yield hub, leaf


def say(daemon: Daemon, *messages: tuple[str, bytes, bool]) -> None:
    with brokers(daemon) as (broker,):
        device = broker.client()
        for topic, payload, retain in messages:
            device.publish(topic, payload, qos=1, retain=retain)


STATES = [
    ("kept", b"007", True),
    ("exact", b"7", True),
    ("plain", b"1.50", False),
    ("shadowed", b"021", True), ("shadowed", b"022", False),
    ("again", b"5", False), ("again", b"5", True),
]  # fmt: skip
WANTED = {"kept": b"007", "exact": b"7", "shadowed": b"021", "again": b"5"}


def check_state(daemon: Daemon, area: str) -> None:
    def same() -> bool:
        return {found.topic.rpartition("/")[2]: found.payload for found in retained(daemon, f"{area}/s/#")} == WANTED

    eventually(same, 15.0)
    assert value(daemon, f"/mqtt/{area}/s/plain") == 1.5
    assert value(daemon, f"/mqtt/{area}/s/shadowed") == 22.0


def test_states_are_told_as_they_are_after_an_outage_and_restarts() -> None:
    with pair() as (hub, leaf):
        # "again" was unretained before, with the value that is retained later: the value alone is no news.
        say(leaf, ("stage/s/again", b"5", False))
        say(hub, ("show/s/again", b"5", False))
        await_value(hub, "/mqtt/stage/s/again", 5)
        await_value(leaf, "/mqtt/show/s/again", 5)
        hub.stop()
        await_down(leaf)
        say(leaf, *((f"stage/s/{name}", payload, retain) for name, payload, retain in STATES))
        leaf.stop()
        hub.start()
        say(hub, *((f"show/s/{name}", payload, retain) for name, payload, retain in STATES))
        leaf.start()
        await_up(leaf)
        check_state(hub, "stage")
        check_state(leaf, "show")
        for daemon in (hub, leaf):
            daemon.stop()
            daemon.start()
        check_state(hub, "stage")
        check_state(leaf, "show")
        await_up(leaf)
        check_state(hub, "stage")
        check_state(leaf, "show")


KEPT = {"client_id": "lamp", "clean": False, "props": {"session_expiry_interval": 600}}


def await_topic(daemon: Daemon, last: str) -> list[Publish]:
    """What the client whose session is kept at the daemon is sent, up to the message to this topic."""
    found: list[Publish] = []
    with brokers(daemon) as (broker,):
        lamp = broker.client(**KEPT)
        while not found or found[-1].topic != last:
            found.append(lamp.receive())
    return found


@both_ways
def test_what_is_cleared_where_it_is_not_known_yet_is_gone(up: bool) -> None:
    """The later one stands, also where the earlier one had not come: what a device clears when it starts, for one."""
    with pair() as (hub, leaf):
        here, there = (leaf, hub) if up else (hub, leaf)
        topic = f"{'stage' if up else 'show'}/late"
        here.stop()
        say(there, (topic, b"7", True), (f"{topic}/stays", b"8", True))
        there.stop()
        here.start()
        say(here, (topic, b"", True))
        there.start()
        await_up(leaf)
        for router in (hub, leaf):
            await_value(router, f"/mqtt/{topic}/stays", 8)
            await_retained(router, topic, None)
            await_value(router, f"/mqtt/{topic}", None)


def test_events_that_waited_arrive_as_they_were_and_those_whose_time_is_over_do_not() -> None:
    with pair() as (hub, leaf):
        with brokers(hub) as (far,):
            far.client(**KEPT).subscribe("stage/go/#", options=2)
        hub.stop()
        await_down(leaf)
        with brokers(leaf) as (near,):
            device = near.client()
            device.publish("stage/go/1", b"007", qos=2, props=PROPERTIES)
            device.publish("stage/go/2", b"GO", qos=1, props={"message_expiry_interval": 1})
            device.publish("stage/go/3", b"008", qos=1, props={"message_expiry_interval": 500})
        leaf.stop()
        sleep_s(1.1)
        leaf.start()  # what waited is in its log alone
        hub.start()
        await_up(leaf)
        first, last = await_topic(hub, "stage/go/3")
        assert (first.topic, first.payload, first.qos) == ("stage/go/1", b"007", 2)
        assert {name: first.properties.get(name) for name in PROPERTIES} == PROPERTIES
        assert (last.payload, last.qos) == (b"008", 1)
        assert last.properties["message_expiry_interval"] < 500


def test_every_value_of_a_logged_topic_arrives_with_its_bytes() -> None:
    with pair(policy={"/mqtt/stage/log/**": "log"}) as (hub, leaf):
        with brokers(hub) as (far,):
            far.client(**KEPT).subscribe("stage/log/#", options=1)
        hub.stop()
        await_down(leaf)
        say(leaf, *(("stage/log/t", b"0%d" % number, False) for number in range(20)), ("stage/log/end", b"0", False))
        leaf.stop()
        leaf.start()
        hub.start()
        await_up(leaf)
        got = [found.payload for found in await_topic(hub, "stage/log/end")]
        assert list(dict.fromkeys(got)) == [*(b"0%d" % number for number in range(20)), b"0"]
        assert retained(hub, "stage/log/#") == []


@both_ways
def test_large_messages_that_nobody_read_while_the_other_router_was_away_arrive_as_they_were(up: bool) -> None:
    """Who follows the log has to make the values of them."""
    area = "stage" if up else "show"
    large = json.dumps([{"on": number % 2 == 0} for number in range(1500)]).encode()
    with pair(policy={f"/mqtt/{area}/log/**": "log"}) as (hub, leaf):
        here, there = (leaf, hub) if up else (hub, leaf)
        with brokers(there) as (far,):
            far.client(**KEPT).subscribe(f"{area}/log/#", options=1)
        there.stop()
        if up:
            await_down(leaf)
        said = [large[:-1] + b",%d]" % number for number in range(5)]
        say(here, *((f"{area}/log/t", payload, False) for payload in said), (f"{area}/log/end", large, False))
        here.stop()
        here.start()
        there.start()
        await_up(leaf)
        got = await_topic(there, f"{area}/log/end")
        assert list(dict.fromkeys(found.payload for found in got)) == [*said, large]
        await_value(there, f"/mqtt/{area}/log/end", json.loads(large))
        assert retained(there, f"{area}/log/#") == []


NARROW = """
[security]
mode = "authenticated"

[[security.token]]
token = "box-token-box-token-box-token-box-t"
subject = "box"
scopes = ["write:/mqtt/stage/**", "read:/mqtt/show/lamp/**", "read:/mqtt/stage/**"]

[[security.token]]
token = "desk-token-desk-token-desk-token-de"
subject = "desk"
scopes = ["admin:/**"]
"""


def test_a_narrow_token_gets_what_it_may_have_as_it_was() -> None:
    with Daemon(mqtt=True, config=NARROW) as hub:
        config = uplink(
            hub.ws_url, owns=["/mqtt/stage/**"], wants=["/mqtt/show/lamp/**"],
            token="box-token-box-token-box-token-box-t",
        )  # fmt: skip
        with box(config, sets=JOURNAL, mqtt=True) as leaf:
            await_up(leaf)
            with brokers(hub, leaf) as (far, near):
                desk = far.client(username="desk", password=b"desk-token-desk-token-desk-token-de")
                desk.subscribe("#", options=1)
                lamp: MqttClient = near.client()
                lamp.subscribe("show/#", options=1)
                lamp.publish("stage/t", b"007", qos=1)
                desk.receive(b"007")
                lamp.publish("other/t", b"008", qos=1)  # nobody there is told
                other = far.client(username="desk", password=b"desk-token-desk-token-desk-token-de")
                other.publish("show/secret", b"009", qos=1)
                desk.receive(b"009")
                other.publish("show/lamp/x", b"010", qos=1)
                desk.receive(b"010")
                lamp.receive(b"010")
                assert lamp.publishes() == []
                assert desk.publishes() == []
