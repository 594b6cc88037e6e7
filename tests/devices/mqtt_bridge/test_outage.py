"""The broker killed, frozen, unreachable and restarted under load: what each policy promises, it keeps."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from support.bridged import Bridged, Map, Onlooker, bridge_config
from support.client import WsClient
from support.live import eventually, get, put
from support.load import Load, first_seen
from support.mosquitto import Mosquitto
from support.mqtt_client import Broker
from support.netns import THEIRS, Namespace, why_not

from clasp_edge import wire
from clasp_edge.federation.shared.dedup import Route
from clasp_edge.federation.shared.extensions import gone_frame, peer_frame, route_frame
from clasp_edge.wire.frame import HEADER_BYTES

LATEST: Map = {"topic": "site/#", "address": "/s/**"}
LOG: Map = {"topic": "log/#", "address": "/log/**", "policy": "log"}
ADDRESSES = 10

AMPLE_KIB = 65_536
"""More than the load writes while a broker is away, however long a busy machine takes to find it again."""


@contextmanager
def pair(broker: Mosquitto, *maps: Map, **keys: object) -> Iterator[tuple[Bridged, Bridged]]:
    """Two daemons bridged over the broker by the same maps."""
    config = bridge_config([broker.url], maps, **keys)
    with Bridged(config) as left, Bridged(config) as right:
        yield left, right


def addresses(prefix: str) -> list[str]:
    return [f"{prefix}/{number}" for number in range(ADDRESSES)]


def assert_same(daemon: Bridged, newest: Mapping[str, wire.Value]) -> None:
    for address, value in newest.items():
        daemon.wait_value(address, value)


def assert_complete(writer: Bridged, listener: WsClient, load: Load) -> None:
    """Every value has come, in the order written; again, too, but not for the first time after a later one."""
    assert writer.status("dropped") == 0
    got = first_seen(listener.sync())
    for address, written in load.written.items():
        assert sorted(set(written) - set(got[address])) == [], f"missing from {address}"
        assert got[address] == written


def test_latest_converges_when_the_broker_is_killed_and_has_forgotten_everything(broker: Mosquitto) -> None:
    with pair(broker, LATEST) as (left, right):
        left.put("/s/before", "the outage")
        right.wait_value("/s/before", "the outage")
        with (
            Load(left.crowd.ws("load"), addresses("/s/left")) as one,
            Load(right.crowd.ws("load"), addresses("/s/right")) as other,
        ):
            one.more(100)
            broker.kill()
            left.wait_state("down")
            right.wait_state("down")
            one.more(100)
            other.more(100)
            broker.start()
            left.wait_state("up")
            right.wait_state("up")
            one.more(100)
        for daemon in (left, right):
            assert_same(daemon, one.newest() | other.newest())
            assert daemon.status("dropped") == 0
        # The broker has got back even what did not change in the meantime.
        left.wait_sent()
        right.wait_sent()
        with Bridged(bridge_config([broker.url], [LATEST])) as late:
            assert_same(late, one.newest() | other.newest())
            late.wait_value("/s/before", "the outage")


def test_a_log_loses_nothing_when_the_broker_is_killed() -> None:
    with Mosquitto(persistent=True) as broker, pair(broker, LOG, queue_kib=AMPLE_KIB) as (left, right):
        there = right.listener("/log/**")
        with Load(left.crowd.ws("load"), addresses("/log/a")) as load:
            broker.save()
            load.more(100)
            broker.kill()
            left.wait_state("down")
            load.more(100)
            broker.start()
            left.wait_state("up")
            load.more(100)
        left.wait_sent()
        assert_same(right, load.newest())
        assert_complete(left, there, load)


def test_nothing_is_lost_when_the_broker_freezes(broker: Mosquitto) -> None:
    with pair(broker, LOG, LATEST, queue_kib=AMPLE_KIB) as (left, right):
        there = right.listener("/log/**")
        with (
            Load(left.crowd.ws("load"), addresses("/log/a")) as log,
            Load(right.crowd.ws("load"), addresses("/s/b")) as latest,
        ):
            log.more(50)
            broker.freeze()
            left.wait_state("down")
            assert "eep alive" in str(left.status("last_error")), left.status("last_error")
            right.wait_state("down")
            log.more(50)
            broker.thaw()
            left.wait_state("up")
            right.wait_state("up")
            log.more(50)
        left.wait_sent()
        assert_same(right, log.newest())
        assert_same(left, latest.newest())
        assert_complete(left, there, log)


@pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
def test_nothing_is_lost_when_the_wire_is_cut() -> None:
    with (
        Namespace() as namespace,
        Mosquitto(host=THEIRS, prefix=namespace.prefix) as broker,
        pair(broker, LOG, LATEST, queue_kib=AMPLE_KIB) as (left, right),
    ):
        there = right.listener("/log/**")
        with (
            Load(left.crowd.ws("load"), addresses("/log/a")) as log,
            Load(right.crowd.ws("load"), addresses("/s/b")) as latest,
        ):
            log.more(50)
            namespace.cut()
            left.wait_state("down")
            right.wait_state("down")
            log.more(50)
            namespace.mend()
            left.wait_state("up")
            right.wait_state("up")
            log.more(50)
        left.wait_sent()
        assert_same(right, log.newest())
        assert_same(left, latest.newest())
        assert_complete(left, there, log)


def test_beyond_its_bound_a_log_drops_the_oldest_and_says_how_many() -> None:
    with Mosquitto(persistent=True) as broker, pair(broker, LOG, queue_kib=4) as (left, right):
        there = right.listener("/log/**")
        broker.save()
        broker.kill()
        left.wait_state("down")
        for number in range(100):
            left.put("/log/n", number)
        broker.start()
        right.wait_state("up")
        left.wait_state("up")
        right.wait_value("/log/n", 99)
        left.wait_sent()
        got = first_seen(there.sync())["/log/n"]
        assert got == list(range(100 - len(got), 100))
        assert left.status("dropped") == 100 - len(got) > 0


@pytest.mark.parametrize("payload", ["value", "clasp"])
def test_a_clear_for_which_a_full_queue_has_no_room_reaches_the_broker(payload: str) -> None:
    levels: Map = {"topic": "site/#", "address": "/mqtt/**", "payload": payload}
    with Mosquitto(persistent=True) as broker:
        config = bridge_config([broker.url], [levels], queue_kib=4)
        with Bridged(config, mqtt=True) as left, Bridged(config) as right:
            devices = Broker(left.daemon.mqtt_address)
            lamp = devices.client()
            lamp.publish("gone", b"7", qos=1, retain=True)
            right.wait_value("/mqtt/gone", 7)
            broker.save()
            broker.kill()
            left.wait_state("down")
            for _ in range(4):
                left.client.send(wire.Publish("/mqtt/event", wire.SignalType.EVENT, bytes(2000)))
            eventually(lambda: left.status("dropped") > 0)
            for _ in range(15):
                left.client.send(wire.Publish("/mqtt/event", wire.SignalType.EVENT, 1))
            lamp.publish("gone", b"", qos=1, retain=True)
            eventually(lambda: get(left.client, "/mqtt/gone") is None)
            broker.start()
            left.wait_state("up")
            right.wait_state("up")
            left.wait_sent()
            eventually(lambda: get(right.client, "/mqtt/gone") is None)
            with Onlooker(broker.port, "site/#") as device:
                assert device.payloads("site/gone") == []
            assert get(left.client, "/mqtt/gone") is None
            devices.leave()


@pytest.mark.parametrize("payload", ["value", "clasp"])
def test_what_was_over_before_it_could_be_told_is_cleared_at_the_broker(payload: str) -> None:
    """Else it keeps what was there before, and everybody has that back."""
    with (
        Mosquitto(persistent=True) as broker,
        Bridged(bridge_config([broker.url], [{**LATEST, "payload": payload}])) as left,
    ):
        left.put("/s/level", 1)
        left.put("/s/forgotten", 1)
        left.wait_sent()
        broker.save()
        broker.kill()
        left.wait_state("down")
        put(left.client, "/s/level", 2, ttl=wire.Ttl(wire.TtlMode.ABSOLUTE, 1))
        put(left.client, "/s/forgotten", None, ttl=wire.Ttl(wire.TtlMode.ABSOLUTE, 0))
        eventually(lambda: get(left.client, "/s/level") is None)
        broker.start()
        left.wait_state("up")
        left.wait_sent()
        with Onlooker(broker.port, "site/#") as device:
            device.publish("site/end", b"x")
            eventually(lambda: "site/end" in {m.topic for m in device.messages})
            assert {m.topic for m in device.messages} == {"site/end"}
        assert get(left.client, "/s/level") is None
        assert get(left.client, "/s/forgotten") is None


def test_clears_go_to_a_broker_that_takes_one_message_at_a_time() -> None:
    levels: Map = {"topic": "site/#", "address": "/mqtt/**", "payload": "clasp", "qos": 2}
    with Mosquitto(extra=["max_inflight_messages 1"]) as broker:
        config = bridge_config([broker.url], [levels])
        with Bridged(config, mqtt=True) as left, Bridged(config) as right:
            devices = Broker(left.daemon.mqtt_address)
            lamp = devices.client()
            names = [f"lamp{number}" for number in range(20)]
            for name in names:
                lamp.publish(name, b"7", qos=1, retain=True)
            for name in names:
                right.wait_value(f"/mqtt/{name}", 7)
            since = left.status("since")
            for name in names:
                lamp.publish(name, b"", qos=1, retain=True)
            eventually(lambda: all(get(right.client, f"/mqtt/{name}") is None for name in names), 20.0)
            assert (left.status("state"), left.status("since")) == ("up", since)
            devices.leave()


def clear_from_elsewhere(box: Bridged, address: str) -> None:
    """Another router, which owns it, says that a param is gone."""
    joined = WsClient(box.daemon.ws_url).hello("other", features=("param", "federation"))
    joined.send_raw(peer_frame("other", 1, (address,), link=1, versions=True))
    joined.recv_until(wire.FederationSync)
    frame = gone_frame(address.encode(), 1)
    hlc = int(time.time() * 1e6) | 1
    size = len(frame) - HEADER_BYTES + 16
    joined.send_raw(route_frame(Route("other", 7, 0), 1, 1))
    joined.send_raw(
        frame[:2] + size.to_bytes(2, "big") + frame[HEADER_BYTES:] + (1).to_bytes(8, "big") + hlc.to_bytes(8, "big")
    )
    eventually(lambda: get(box.client, address) is None)
    joined.close()


def test_what_waits_in_a_log_outlives_a_router_that_is_killed() -> None:
    with (
        Mosquitto(persistent=True) as broker,
        Bridged(bridge_config([broker.url], [LOG]), sets={"journal.mode": "strict"}) as box,
    ):

        def say(*numbers: int) -> None:
            client = box.crowd.ws("writer")
            for number in numbers:
                client.send(wire.Publish("/log/event", wire.SignalType.EVENT, number))
            put(client, "/stored", numbers[-1])  # acknowledged when it is in the journal, and so is what went before

        say(0)
        heard = box.listener("/log/foreign")
        with Onlooker(broker.port) as device:
            device.publish("log/foreign", b"1")
        heard.recv_until(wire.Publish)
        box.wait_sent()
        broker.kill()
        box.wait_state("down")
        say(*range(1, 50))
        box.daemon.restart()
        say(*range(50, 60))  # behind what is read from the log
        box.daemon.kill()
        broker.start()
        with Onlooker(broker.port, "log/#") as onlooker:
            box.daemon.start()
            eventually(lambda: onlooker.payloads("log/event")[-1:] == [b"59"], 40.0)
            found = [int(payload) for payload in onlooker.payloads("log/event")]
        assert found == list(range(found[0], 60))
        assert found[0] <= 1
        assert onlooker.payloads("log/foreign") == []  # what came from the broker does not go back there


def test_what_an_mqtt_client_said_outlives_a_router_that_is_killed_byte_for_byte() -> None:
    levels: Map = {"topic": "log/#", "address": "/mqtt/**", "policy": "log"}
    with (
        Mosquitto(persistent=True) as broker,
        Bridged(bridge_config([broker.url], [levels]), sets={"journal.mode": "strict"}, mqtt=True) as box,
    ):
        put(box.client, "/mqtt/gone", 1)
        box.wait_sent()
        broker.kill()
        box.wait_state("down")
        devices = Broker(box.daemon.mqtt_address)
        lamp = devices.client()
        lamp.publish("level", b"23.50", qos=1)
        clear_from_elsewhere(box, "/mqtt/gone")
        lamp.publish("last", b"x", qos=1)
        devices.leave()
        box.daemon.kill()
        broker.start()
        with Onlooker(broker.port, "log/#") as onlooker:
            box.daemon.start()
            eventually(lambda: onlooker.payloads("log/last") == [b"x"], 40.0)
            assert onlooker.payloads("log/level") == [b"23.50"]
            assert onlooker.payloads("log/gone")[-1:] == [b""]  # not "null", which a broker would keep


def test_what_a_killed_router_says_again_is_heard_once() -> None:
    clasp: Map = {"topic": "ev/#", "address": "/ev/**", "policy": "log", "retain": False, "payload": "clasp"}
    with Mosquitto(persistent=True) as broker:
        config = bridge_config([broker.url], [clasp], keep_alive_s=60)
        with (
            Bridged(config, sets={"journal.mode": "strict"}) as left,
            Bridged(config, sets={"journal.mode": "strict"}) as right,
        ):
            there = right.listener("/ev/**")

            def say(*numbers: int) -> None:
                client = left.crowd.ws("writer")
                for number in numbers:
                    client.send(wire.Publish("/ev/n", wire.SignalType.EVENT, number))
                put(client, "/stored", numbers[-1])

            say(0)
            there.recv_until(wire.Publish)
            broker.freeze()
            say(*range(1, 20))  # they are on their way, and nobody acknowledges them
            left.daemon.kill()
            broker.thaw()
            heard = [there.recv_until(wire.Publish).value]  # more, if the broker reads on after it cannot answer
            left.daemon.start()
            say(20)
            while heard[-1] != 20:
                heard.append(there.recv_until(wire.Publish).value)
            assert heard == list(range(1, 21))


def test_drop_sends_nothing_that_was_written_meanwhile() -> None:
    drop: Map = {"topic": "d/#", "address": "/d/**", "policy": "drop", "retain": False}
    with Mosquitto(persistent=True) as broker, pair(broker, drop) as (left, right):
        there = right.listener("/d/**")
        left.put("/d/n", 1)
        right.wait_value("/d/n", 1)
        broker.save()
        broker.kill()
        left.wait_state("down")
        right.wait_state("down")
        left.put("/d/n", 2)
        broker.start()
        right.wait_state("up")
        left.wait_state("up")
        left.put("/d/n", 3)
        right.wait_value("/d/n", 3)
        assert first_seen(there.sync()) == {"/d/n": [1, 3]}
        eventually(lambda: left.status("dropped") == 1)


def test_a_value_from_elsewhere_does_not_undo_a_newer_one_of_ours(broker: Mosquitto) -> None:
    with pair(broker, LATEST) as (left, right):
        right.put("/s/n", "old")
        left.wait_value("/s/n", "old")
        broker.kill()
        left.wait_state("down")
        right.wait_state("down")
        left.put("/s/n", "new")
        broker.start()
        # The right one may well be back first, and make the broker retain the old value again.
        right.wait_state("up")
        left.wait_state("up")
        right.wait_value("/s/n", "new")
        assert left.value("/s/n") == "new"


def test_a_broker_that_comes_back_with_old_values_is_told_the_newer_ones() -> None:
    with Mosquitto(persistent=True, autosave=False) as broker, pair(broker, LATEST) as (left, right):
        left.put("/s/n", "old")
        left.put("/s/same", "as ever")
        right.wait_value("/s/same", "as ever")
        right.wait_value("/s/n", "old")
        broker.save()
        left.put("/s/n", "new")
        left.put("/s/late", "later")
        right.wait_value("/s/n", "new")
        right.wait_value("/s/late", "later")
        there = right.listener("/s/**")
        broker.kill()
        left.wait_state("down")
        right.wait_state("down")
        broker.start()
        left.wait_state("up")
        right.wait_state("up")
        with Bridged(bridge_config([broker.url], [LATEST])) as late:
            assert_same(late, {"/s/n": "new", "/s/same": "as ever", "/s/late": "later"})
        assert left.value("/s/n") == right.value("/s/n") == "new"
        # Nobody has seen anything go back and forth.
        assert [m for m in there.sync() if isinstance(m, wire.Set)] == []


def test_a_daemon_that_was_away_gets_what_is_newer(broker: Mosquitto) -> None:
    with pair(broker, LATEST) as (left, right):
        left.put("/s/n", "old")
        right.wait_value("/s/n", "old")
        left.daemon.kill()
        right.put("/s/n", "new")
        right.wait_sent()
        left.daemon.start()
        left.client = left.crowd.ws("asker")
        left.wait_value("/s/n", "new")
        assert eventually(lambda: right.value("/s/n")) == "new"
