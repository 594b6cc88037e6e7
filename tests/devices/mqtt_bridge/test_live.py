"""Two daemons bridged over a real broker that stays up: both directions, maps, signals, retained values, no loops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from support import mqtt_packets as packets
from support.bridged import Bridged, Map, Onlooker, bridge_config
from support.live import eventually, fresh, get, of_type, put
from support.mosquitto import Mosquitto
from support.mqtt_client import Broker

from clasp_edge import wire
from clasp_edge.wire import SignalType


def maps(prefix: str) -> list[Map]:
    return [
        {"topic": "log/+/#", "address": f"{prefix}/log/*/**", "policy": "log", "qos": 2},
        {"direction": "in", "topic": "bells/#", "address": f"{prefix}/bells/**", "arrives_as": "event"},
        {"direction": "out", "topic": "plain/#", "address": f"{prefix}/plain/**", "qos": 0, "retain": False},
        {"topic": "site/#", "address": f"{prefix}/**", "arrives_as": "param"},
    ]


@pytest.fixture(scope="module")
def left(shared_broker: Mosquitto) -> Iterator[Bridged]:
    with Bridged(bridge_config([shared_broker.url], maps("/x"))) as running:
        yield running


@pytest.fixture(scope="module")
def right(shared_broker: Mosquitto) -> Iterator[Bridged]:
    with Bridged(bridge_config([shared_broker.url], maps("/y"))) as running:
        yield running


@pytest.mark.parametrize(
    "value", [None, True, 7, 1.5, -0.0, "text", "42", "", b"\x00\xff", b"abc", [1, [2.0]], {"a": {}}]
)
def test_values_go_over_and_come_back(left: Bridged, right: Bridged, value: wire.Value) -> None:
    at = fresh()
    # Something else first, for None is also what an absent param would give.
    left.put(f"/x{at}", "first")
    right.wait_value(f"/y{at}", "first")
    left.put(f"/x{at}", value)
    eventually(lambda: repr(right.value(f"/y{at}")) == repr(value))
    right.put(f"/y{at}", [value])
    wanted = [list(value)] if isinstance(value, bytes) else [value]  # bytes inside a structure are a list of numbers
    left.wait_value(f"/x{at}", wanted)


def test_a_log_carries_every_value_in_order_and_nothing_loops(
    left: Bridged, right: Bridged, shared_broker: Mosquitto
) -> None:
    at = fresh()
    there, back = right.listener(f"/y/log{at}/**"), left.listener(f"/x/log{at}/**")
    with Onlooker(shared_broker.port, f"log{at}/#") as onlooker:
        for number in range(200):
            left.put(f"/x/log{at}/n", number)
        assert [there.recv_type(wire.Set).value for _ in range(200)] == list(range(200))
        # The same way round: were anything sent back, it would come before this.
        right.put(f"/y/log{at}/end", "end")
        assert back.recv_until(wire.Set).value == 0
        while back.recv_type(wire.Set).value != "end":
            pass
        eventually(lambda: onlooker.payloads(f"log{at}/end"))
        assert onlooker.payloads(f"log{at}/n") == [b"%d" % number for number in range(200)]
        assert onlooker.payloads(f"log{at}/end") == [b"end"]
    assert [m.value for m in of_type(there.sync(), wire.Set)] == ["end"]
    assert back.sync() == []


def test_writes_on_both_sides_converge(left: Bridged, right: Bridged) -> None:
    at = fresh()
    for number in range(300):
        left.put(f"/x{at}/shared", f"left {number}")
        right.put(f"/y{at}/shared", f"right {number}")
    left.wait_sent()
    right.wait_sent()
    # What goes now passes the broker after all of that.
    left.put(f"/x{at}/left", "done")
    right.put(f"/y{at}/right", "done")
    right.wait_value(f"/y{at}/left", "done")
    left.wait_value(f"/x{at}/right", "done")
    assert left.value(f"/x{at}/shared") == right.value(f"/y{at}/shared")
    assert left.value(f"/x{at}/shared") in ("left 299", "right 299")


@pytest.mark.parametrize("signal", [SignalType.EVENT, SignalType.STREAM])
def test_what_is_not_a_param_stays_what_it_was(left: Bridged, right: Bridged, signal: SignalType) -> None:
    at = fresh()
    there = right.listener(f"/y{at}/**")
    left.client.send(wire.Publish(address=f"/x{at}/bell", signal=signal, value={"ring": 2}))
    got = there.recv_type(wire.Publish)
    assert (got.address, got.signal, got.value) == (f"/y{at}/bell", signal, {"ring": 2})
    assert right.value(f"/y{at}/bell") is None


def test_messages_of_others_become_what_the_map_says(left: Bridged, shared_broker: Mosquitto) -> None:
    at = fresh()
    here = left.listener(f"/x/bells{at}/**")
    with Onlooker(shared_broker.port) as device:
        device.publish(f"bells{at}/door", b"1")
        device.publish(f"bells{at}/kept", b"2", retain=True)
        device.publish(f"site{at}/t", b"21.5", qos=0)
        event, param = here.recv_type(wire.Publish), here.recv_type(wire.Set)
        left.wait_value(f"/x{at}/t", 21.5)
    assert (event.address, event.signal, event.value) == (f"/x/bells{at}/door", SignalType.EVENT, 1)
    assert (param.address, param.value) == (f"/x/bells{at}/kept", 2)


def test_what_others_see(left: Bridged, shared_broker: Mosquitto) -> None:
    at = fresh()
    with Onlooker(shared_broker.port, f"site{at}/#", f"plain{at}/#", f"log{at}/#") as device:
        left.put(f"/x{at}/a", 1.0)
        left.put(f"/x/plain{at}/a", "2")
        left.put(f"/x/log{at}/a", b"\x01")
        left.client.send(wire.Publish(address=f"/x{at}/e", signal=SignalType.EVENT, value=3))
        eventually(lambda: len(device.messages) == 4)
        seen = {m.topic: (bytes(m.payload), m.qos, m.retain) for m in device.messages}
    assert seen == {
        f"site{at}/a": (b"1.0", 1, True),
        f"plain{at}/a": (b'"2"', 0, False),
        f"log{at}/a": (b"\x01", 2, True),
        f"site{at}/e": (b"3", 1, False),
    }


def test_an_event_without_a_value_goes_over(left: Bridged, right: Bridged, shared_broker: Mosquitto) -> None:
    at = fresh()
    there = right.listener(f"/y{at}/**")
    with Onlooker(shared_broker.port, f"site{at}/#") as device:
        left.client.send(wire.Publish(address=f"/x{at}/go", signal=SignalType.EVENT))
        eventually(lambda: [(m.payload, m.retain) for m in device.messages] == [(b"", False)])
    heard = there.recv_type(wire.Publish)
    assert (heard.address, heard.signal, heard.value) == (f"/y{at}/go", SignalType.EVENT, wire.ABSENT)


def test_what_is_forgotten_here_is_forgotten_at_the_broker(left: Bridged, shared_broker: Mosquitto) -> None:
    at = fresh()
    with Onlooker(shared_broker.port, f"site{at}/#") as device:
        left.put(f"/x{at}/level", 5)
        put(left.client, f"/x{at}/level", None, ttl=wire.Ttl(wire.TtlMode.ABSOLUTE, 0))
        eventually(lambda: device.payloads(f"site{at}/level") == [b"5", b""])


def test_bytes_without_any_come_as_an_empty_text(left: Bridged, right: Bridged) -> None:
    at = fresh()
    left.put(f"/x{at}", b"")
    right.wait_value(f"/y{at}", "")


def test_what_a_client_says_of_its_bytes_arrives_with_them(shared_broker: Mosquitto) -> None:
    """A picture of a camera, as a message that is not retained: not only its bytes count."""
    at = fresh()
    config = bridge_config([shared_broker.url], [{"topic": f"cam{at}/#", "address": f"/mqtt/cam{at}/**"}])
    with Bridged(config, mqtt=True) as box, Onlooker(shared_broker.port) as camera:
        devices = Broker(box.daemon.mqtt_address)
        desk = devices.client()
        desk.subscribe(f"cam{at}/#", options=1)
        properties: Any = Properties(PacketTypes.PUBLISH)
        properties.ContentType = "application/octet-stream"
        properties.ResponseTopic = "answers"
        properties.CorrelationData = b"7"
        camera.publish(f"cam{at}/front", b"\xff\xd8", qos=0, properties=properties)
        heard = desk.receive()
        assert (heard.payload, heard.qos) == (b"\xff\xd8", 0)
        assert heard.properties == {
            "content_type": "application/octet-stream",
            "response_topic": "answers",
            "correlation_data": b"7",
        }
        devices.leave()


def test_retained_values_are_there_for_a_daemon_that_comes_later(left: Bridged, shared_broker: Mosquitto) -> None:
    at = fresh()
    left.put(f"/x{at}/early", [1, 2])
    left.wait_sent()
    config = bridge_config([shared_broker.url], [{"topic": "site/#", "address": "/z/**"}])
    with Bridged(config) as late:
        late.wait_value(f"/z{at}/early", [1, 2])


def test_what_the_broker_forgets_is_forgotten(left: Bridged, right: Bridged, shared_broker: Mosquitto) -> None:
    at = fresh()
    left.put(f"/x{at}/gone", 1)
    left.put(f"/x{at}/empty", "")
    right.wait_value(f"/y{at}/gone", 1)
    right.wait_value(f"/y{at}/empty", "")
    here, there = left.listener(f"/x{at}/gone"), right.listener(f"/y{at}/gone")
    with Onlooker(shared_broker.port, f"site{at}/#") as device:
        device.publish(f"site{at}/gone", b"", retain=True)
        for client, daemon, address in ((here, left, f"/x{at}/gone"), (there, right, f"/y{at}/gone")):
            assert client.recv_until(wire.Set).value is None
            assert get(daemon.client, address) is None
        # An empty text is a value like any other, and stays with the broker.
        eventually(lambda: device.payloads(f"site{at}/empty") == [b'""'])


def test_what_cannot_be_an_address_is_said_and_harms_nothing(left: Bridged, shared_broker: Mosquitto) -> None:
    at = fresh()
    with Onlooker(shared_broker.port) as device:
        for topic in ("a//b", "star*", "/"):
            device.publish(f"site{at}/{topic}", b"1")
        eventually(lambda: "no address can be made of it" in str(left.status("last_error")))
        device.publish(f"site{at}/big", b"x" * 70_000)
        left.wait_value(f"/x{at}/big", {"too_large": 70_000})
        device.publish(f"site{at}/fine", b"1")
        left.wait_value(f"/x{at}/fine", 1)
    assert left.status("state") == "up"


def test_how_a_bridge_is_doing_is_for_its_own_clients_only(
    left: Bridged, right: Bridged, shared_broker: Mosquitto
) -> None:
    assert left.status("broker") == shared_broker.url
    assert left.status("dropped") == 0
    left.wait_sent()
    since = left.status("since")
    assert isinstance(since, float)
    everything: list[Map] = [{"topic": "all/#", "address": "/**", "arrives_as": "param"}]
    with Bridged(bridge_config([shared_broker.url], everything)) as nosy, Onlooker(shared_broker.port, "all/#") as seen:
        nosy.put("/ours", 1)
        eventually(lambda: seen.payloads("all/ours"))
        seen.publish("all/clasp-edge/bridges/site/state", b"fooled")
        seen.publish("all/theirs", b"2")
        nosy.wait_value("/theirs", 2)
        assert nosy.status("state") == "up"
        assert not [m.topic for m in seen.messages if m.topic.startswith("all/clasp-edge/b") and m.payload != b"fooled"]
        assert left.status("since") == since


def test_two_bridges_that_make_a_ring_do_not_loop(shared_broker: Mosquitto) -> None:
    at = fresh()
    ring: list[Map] = [{"topic": f"ring{at}/#", "address": "/ring/**", "policy": "log", "arrives_as": "param"}]
    config = "".join(bridge_config([shared_broker.url], ring, name) for name in ("one", "two"))
    with Bridged(config) as daemon, Onlooker(shared_broker.port, f"ring{at}/#") as seen:
        here = daemon.listener("/ring/**")
        for number in range(20):
            daemon.put("/ring/n", number)
        eventually(lambda: len(seen.payloads(f"ring{at}/n")) >= 40)
        seen.publish(f"ring{at}/device", b"1")
        daemon.wait_value("/ring/device", 1)
        daemon.wait_sent("one")
        daemon.wait_sent("two")
        seen.publish(f"ring{at}/end", b"1")
        daemon.wait_value("/ring/end", 1)
        values = [m.value for m in of_type(here.sync(), wire.Set) if m.address == "/ring/n"]
        assert values == list(range(20))
        assert len(seen.payloads(f"ring{at}/n")) == 40


def test_a_message_that_has_come_round_over_other_daemons_is_dropped(left: Bridged, shared_broker: Mosquitto) -> None:
    at = fresh()
    with Onlooker(shared_broker.port, f"site{at}/#") as device:
        left.put(f"/x{at}/a", 1)
        eventually(lambda: device.messages)
        told: Any = device.messages[0].properties  # paho sets the attributes of those that there are
        via = dict(told.UserProperty)["clasp-edge-via"]
        for passed, value in ((f"{via},ffff", b"2"), (f"eeee,{via}", b"3"), (",".join(map(str, range(16))), b"4")):
            properties = Properties(PacketTypes.PUBLISH)
            properties.UserProperty = [("clasp-edge-via", passed)]
            device.publish(f"site{at}/a", value, properties=properties)
        device.publish(f"site{at}/end", b"1")
        left.wait_value(f"/x{at}/end", 1)
    assert left.value(f"/x{at}/a") == 1


def test_wills_of_those_who_are_here_go_out_when_the_router_stops(shared_broker: Mosquitto) -> None:
    """Without a journal they are published at the stop, and a broker shall not keep somebody's "online"."""
    at = fresh()
    config = bridge_config([shared_broker.url], [{"topic": f"wills{at}/#", "address": f"/mqtt/wills{at}/**"}])
    with (
        Onlooker(shared_broker.port, f"wills{at}/#") as onlooker,
        Bridged(config, mqtt=True, sets={"journal.mode": "off"}) as box,
    ):
        devices = Broker(box.daemon.mqtt_address)
        topic = f"wills{at}/state"
        devices.client(will=packets.Will(topic, b"offline", 1, True)).publish(topic, b"online", qos=1, retain=True)
        eventually(lambda: onlooker.payloads(topic) == [b"online"])
        box.daemon.stop()
        eventually(lambda: onlooker.payloads(topic) == [b"online", b"offline"])
        devices.leave()
        box.daemon.start()
