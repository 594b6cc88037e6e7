"""Bridges whose broker is the MQTT server of a clasp-edge: of one that has a bridge to here as well, or of this router
itself. What is said goes round nowhere; and a bridge that has nothing to carry sleeps."""

from __future__ import annotations

import os
import time
from collections import Counter

import pytest
from support.bridged import Bridged, Map, Onlooker, bridge_config
from support.client import WsClient
from support.daemon import Daemon
from support.live import eventually
from support.lying_broker import Connection, LyingBroker, granted, length, published, user_property
from support.ports import free_port

from clasp_edge.wire import Publish, Set, SignalType

SUBSCRIBE = 0x82
MAPS: list[Map] = [{"topic": "s/#", "address": "/mqtt/s/**"}]


def cpu_s(daemon: Daemon) -> float:
    """What the process has taken of processors."""
    with open(f"/proc/{daemon.pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def said(client: WsClient) -> list[object]:
    """The values of all that comes until nothing has for a second."""
    return [message.value for message in client.drain(1.0) if isinstance(message, Set | Publish)]


@pytest.mark.parametrize("policy", ["latest", "log"])
def test_of_two_that_bridge_to_each_other_nothing_goes_round(policy: str) -> None:
    ports = free_port(), free_port()
    maps: list[Map] = [{"topic": "s/#", "address": "/mqtt/s/**", "policy": policy}]
    configs = [bridge_config([f"mqtt://127.0.0.1:{port}"], maps) for port in reversed(ports)]
    sets = [{"mqtt.listen": f"127.0.0.1:{port}"} for port in ports]
    with Bridged(configs[0], wait=False, sets=sets[0]) as left, Bridged(configs[1], sets=sets[1]) as right:
        left.wait_state("up")
        listeners = [one.listener("/mqtt/s/**") for one in (left, right)]
        with Onlooker(ports[0]) as device:
            device.publish("s/fader", b"1", retain=True)
            device.publish("s/cue", b"2")
        left.client.send(Publish("/mqtt/s/go", signal=SignalType.EVENT, value=3))
        right.client.send(Publish("/mqtt/s/go", signal=SignalType.EVENT, value=4))
        right.put("/mqtt/s/level", 5)
        for listener in listeners:
            heard = Counter(said(listener))
            # By each of both bridges once at most, and then no more.
            assert set(heard) == {1, 2, 3, 4, 5}
            assert max(heard.values()) <= 2
        for number in range(6, 40):
            right.put("/mqtt/s/level", number)
        for one in (left, right):
            one.wait_value("/mqtt/s/level", 39)
            one.wait_sent()
            one.wait_value("/mqtt/s/level", 39)


def test_a_bridge_to_this_router_itself_carries_nothing_and_says_so() -> None:
    port = free_port()
    maps: list[Map] = [{"topic": "#", "address": "/mqtt/x/**"}, {"topic": "y/#", "address": "/mqtt/**"}]
    with Bridged(bridge_config([f"mqtt://127.0.0.1:{port}"], maps), sets={"mqtt.listen": f"127.0.0.1:{port}"}) as one:
        listener = one.listener("/mqtt/**")
        one.client.send(Publish("/mqtt/go", signal=SignalType.EVENT, value=1))
        one.put("/mqtt/level", 2)
        assert said(listener) == [1, 2]
        eventually(lambda: "this router itself" in str(one.status("last_error")))


@pytest.mark.parametrize("said", ["x" * 60_000, "a,b"], ids=["long", "several"])
def test_what_a_broker_says_of_itself_that_is_no_id_is_in_no_message(said: str) -> None:
    def behave(connection: Connection) -> None:
        properties = user_property("clasp-edge-via", said)
        body = b"\0\0" + length(len(properties)) + properties
        connection.say(b"\x20" + length(len(body)) + body)
        for first, packet in connection.packets():
            if first == SUBSCRIBE:
                connection.say(granted(packet[:2], 1), published("s/x", b"1", retain=True))

    port = free_port()
    with (
        LyingBroker(behave) as broker,
        Bridged(bridge_config([broker.url], MAPS), sets={"mqtt.listen": f"127.0.0.1:{port}"}) as one,
    ):
        one.wait_value("/mqtt/s/x", 1)
        with Onlooker(port, "s/#") as device:
            (message,) = eventually(lambda: device.messages)
            assert not getattr(message.properties, "UserProperty", [])


def test_what_a_bridge_has_sealed_is_not_sealed_again() -> None:
    """`payload = "clasp"` is for brokers that keep it as it is: a clasp-edge's own server does that too."""
    ports = free_port(), free_port()
    maps: list[Map] = [{"topic": "s/#", "address": "/mqtt/s/**", "payload": "clasp"}]
    configs = [bridge_config([f"mqtt://127.0.0.1:{port}"], maps) for port in reversed(ports)]
    sets = [{"mqtt.listen": f"127.0.0.1:{port}"} for port in ports]
    with Bridged(configs[0], wait=False, sets=sets[0]) as left, Bridged(configs[1], sets=sets[1]) as right:
        left.wait_state("up")
        listener = right.listener("/mqtt/s/**")
        left.put("/mqtt/s/level", 5)
        eventually(lambda: said(listener))
        time.sleep(1.0)  # what goes round is there a thousand times by then
        assert len(said(listener)) <= 2


def test_a_bridge_with_nothing_to_carry_sleeps() -> None:
    """Beside a broker that takes as many messages at once as a bridge sends in one turn."""
    with Daemon(mqtt=True) as server:
        url = f"mqtt://127.0.0.1:{server.mqtt_address[1]}"
        with Bridged(bridge_config([url], MAPS, keep_alive_s=60)) as one:
            time.sleep(1.5)  # what comes with a connection
            before_s = cpu_s(one.daemon)
            time.sleep(2.0)
            assert cpu_s(one.daemon) - before_s < 0.1
