"""A hub that is away for a while, or a box: afterwards both have the same, and what had to arrive has, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.client import WsClient
from support.clock_shim import ByClock, ShiftedClock
from support.daemon import Daemon
from support.federated import (
    JOURNAL,
    await_down,
    await_error,
    await_up,
    await_value,
    box,
    client,
    frozen,
    state,
    uplink,
    value,
)
from support.live import eventually, of_type, put, subscribe
from support.mqtt_client import MqttClient

from clasp_edge.wire import Publish, Set, SignalType

STORED_S = 0.3
"""A journal that commits every 20 ms has stored what is older, on a busy machine too."""


@pytest.fixture
def hub() -> Iterator[Daemon]:
    running = Daemon(sets=JOURNAL)
    try:
        yield running.start()
        assert "Traceback" not in running.stderr
    finally:
        running.close()


def boxed(hub: Daemon, **settings: object) -> Daemon:
    """A box of this hub, with a journal; not started."""
    given = {"owns": ["/own/**", "/mqtt/**"], "wants": ["/show/**"], **settings}
    return box(uplink(hub.ws_url, **given), sets=JOURNAL, mqtt=True)


def cue(writer: WsClient, address: str, *numbers: int) -> None:
    for number in numbers:
        writer.send(Publish(address, signal=SignalType.EVENT, value=number))
    writer.sync()


def clear(daemon: Daemon, topic: str) -> None:
    with MqttClient(daemon.mqtt_address) as mqtt:
        mqtt.connect("clearer")
        mqtt.publish(topic, b"", retain=True, qos=1)
        mqtt.sync()


@contextmanager
def listening(hub: Daemon, edge: Daemon, *params: str) -> Iterator[WsClient]:
    """The hub starts, and somebody hears what the box has kept for it from the first event on."""
    with frozen(edge):
        hub.start()
        there = client(hub)
        subscribe(there, "/own/**", types=(SignalType.EVENT,))
        for number, pattern in enumerate(params, 2):
            subscribe(there, pattern, id=number)
    with there:
        yield there


def cues_of(listener: WsClient, count: int) -> list[object]:
    heard = [listener.recv_until(Publish).value for _ in range(count)]
    return heard + [message.value for message in of_type(listener.drain(), Publish)]


@pytest.mark.parametrize("sets", [JOURNAL, {}], ids=["with its journal", "empty"])
def test_a_hub_comes_back(sets: dict[str, object]) -> None:
    policy = {"/own/log/**": "log", "/own/drop/**": "drop"}
    with Daemon(sets=sets) as hub, boxed(hub, policy=policy) as edge, client(edge) as here:
        await_up(edge)
        with client(hub) as there:
            put(there, "/show/from-hub", 1)
            put(there, "/show/both", 1)
            put(there, "/own/x", "hub's")
            put(here, "/mqtt/gone", 1)
            put(here, "/mqtt/kept", 1)
            put(here, "/show/from-box", 1)
            await_value(hub, "/show/from-box", 1)
            await_value(edge, "/show/both", 1)
            await_value(edge, "/own/x", "hub's")
        time.sleep(STORED_S)
        hub.kill()
        await_down(edge)
        put(here, "/own/x", "box's")
        put(here, "/show/both", 2)
        for number in range(5):
            put(here, "/own/log/x", number)
            put(here, "/own/drop/x", number)
        clear(edge, "gone")
        cue(here, "/own/cue", *range(40))
        cue(here, "/own/drop/cue", 0)
        eventually(lambda: state(edge, key="queue") == 45)
        with listening(hub, edge, "/own/log/x") as there:
            await_up(edge)
            heard: list[object] = []
            while len(of_type(heard, Publish)) < 40:
                heard.append(there.recv())
            heard += there.drain()
        assert [message.value for message in of_type(heard, Publish)] == list(range(40))
        assert [message.value for message in of_type(heard, Set)][-5:] == list(range(5))
        for daemon in (hub, edge):
            for address, wanted in (
                ("/own/x", "box's"), ("/show/both", 2), ("/own/log/x", 4), ("/own/drop/x", 4),
                ("/mqtt/gone", None), ("/mqtt/kept", 1), ("/show/from-box", 1), ("/show/from-hub", 1),
            ):  # fmt: skip
                await_value(daemon, address, wanted)
        eventually(lambda: (state(edge, key="queue"), state(edge, key="drops")) == (0, 6))


def test_a_box_comes_back_with_what_it_had_to_say(hub: Daemon) -> None:
    edge = boxed(hub)
    try:
        edge.start()
        with client(hub) as there:
            subscribe(there, "/own/**")
            with client(edge) as here:
                await_up(edge)
                cue(here, "/own/cue", *range(10))
                put(here, "/own/param", "before")
                put(here, "/mqtt/gone", 1)
                await_value(hub, "/mqtt/gone", 1)
                assert [message.value for message in of_type(there.drain(), Publish)] == list(range(10))
            hub.kill()
            await_down(edge)
            with client(edge) as here:
                cue(here, "/own/cue", *range(10, 500))
                put(here, "/own/param", "meanwhile")
            clear(edge, "gone")
            eventually(lambda: state(edge, key="queue") == 490)
            time.sleep(STORED_S)
        edge.restart()
        eventually(lambda: state(edge, key="queue") == 490)
        with listening(hub, edge) as there:
            await_up(edge)
            assert cues_of(there, 490) == list(range(10, 500))
        await_value(hub, "/own/param", "meanwhile")
        await_value(hub, "/mqtt/gone", None)
        await_value(edge, "/mqtt/gone", None)
    finally:
        edge.close()


def test_a_box_that_is_killed_while_it_replays_sends_nothing_twice(hub: Daemon) -> None:
    """Again and again, so that it sends what lives before the last one have written. The hub's subscriber is connected
    all the time."""
    edge = boxed(hub)
    try:
        edge.start()
        await_up(edge)
        hub.kill()
        await_down(edge)
        with client(edge) as here:
            cue(here, "/own/cue", *range(3000))
        eventually(lambda: state(edge, key="queue") == 3000)
        with listening(hub, edge) as there:
            heard: list[object] = []
            for share in (600, 1500):
                while len(heard) < share:
                    heard.append(there.recv_until(Publish, 20).value)
                edge.kill()
                edge.start()
            while len(heard) < 3000:
                heard.append(there.recv_until(Publish, 20).value)
            heard += [message.value for message in of_type(there.drain(), Publish)]
        assert heard == list(range(3000))
    finally:
        edge.close()


@pytest.mark.parametrize("ahead_s", [60, -3600], ids=["ahead", "behind"])
def test_where_the_clocks_disagree_the_later_write_is_right(tmp_path: Path, ahead_s: float) -> None:
    """The hub's time counts for both, also for what a box has written before it could know."""
    clock = ShiftedClock(tmp_path)
    clock.shift(ahead_s)
    with Daemon(sets=JOURNAL) as hub:
        with client(hub) as there:
            put(there, "/show/x", "first")
        time.sleep(STORED_S)
        hub.stop()
        configuration = uplink(hub.ws_url, owns=["/own/**"], wants=["/show/**"])
        with Daemon(config=configuration, sets=JOURNAL, manager=ByClock(clock)) as edge:
            with client(edge) as here:
                put(here, "/show/x", "box's")
                put(here, "/show/y", "box's")
            hub.start()
            with client(hub) as there:
                put(there, "/show/y", "hub's")
            await_up(edge)
            for daemon in (hub, edge):
                await_value(daemon, "/show/x", "box's")
                await_value(daemon, "/show/y", "hub's")
            assert "the hub's time counts" in edge.stderr


def test_where_the_clocks_agree_the_later_write_is_right(hub: Daemon) -> None:
    with boxed(hub) as edge:
        await_up(edge)
        hub.stop()
        await_down(edge)
        with client(edge) as here:
            put(here, "/show/earlier-here", "box's")
        edge.stop()
        hub.start()
        with client(hub) as there:
            put(there, "/show/earlier-here", "hub's")
            put(there, "/show/earlier-there", "hub's")
        hub.stop()
        edge.start()
        with client(edge) as here:
            put(here, "/show/earlier-there", "box's")
        hub.start()
        await_up(edge)
        for daemon in (hub, edge):
            await_value(daemon, "/show/earlier-here", "hub's")
            await_value(daemon, "/show/earlier-there", "box's")


def test_what_is_cleared_at_the_hub_is_cleared_here() -> None:
    with Daemon(mqtt=True) as hub, boxed(hub) as edge:
        await_up(edge)
        with MqttClient(hub.mqtt_address) as mqtt:
            mqtt.connect("setter")
            mqtt.publish("gone", b"1", retain=True, qos=1)
            mqtt.sync()
        eventually(lambda: value(edge, "/mqtt/gone") is not None)
        clear(hub, "gone")
        await_value(edge, "/mqtt/gone", None)


@pytest.mark.parametrize("end", [Daemon.stop, Daemon.kill], ids=["stopped", "killed"])
def test_what_was_cleared_at_the_hub_while_the_box_was_off_is_gone(end: Callable[[Daemon], object]) -> None:
    """And what a hub has lost that was started anew without a journal is not."""
    with Daemon(mqtt=True) as hub:
        edge = box(uplink(hub.ws_url, owns=["/own/**"], wants=["/mqtt/**"]), sets=JOURNAL)
        try:
            edge.start()
            await_up(edge)
            with MqttClient(hub.mqtt_address) as mqtt:
                mqtt.connect("setter")
                for topic in ("gone", "kept"):
                    mqtt.publish(topic, b"1", retain=True, qos=1)
                mqtt.sync()
            for topic in ("gone", "kept"):
                eventually(lambda topic=topic: value(edge, f"/mqtt/{topic}") is not None)  # type: ignore[misc]
            time.sleep(STORED_S)
            end(edge)
            clear(hub, "gone")
            edge.start()
            await_up(edge)
            await_value(edge, "/mqtt/gone", None)
            await_value(hub, "/mqtt/gone", None)
            end(edge)
            hub.restart()
            edge.start()
            await_up(edge)
            eventually(lambda: value(hub, "/mqtt/kept") is not None)
            assert value(edge, "/mqtt/kept") is not None
        finally:
            edge.close()


def test_queue_in_memory_where_there_is_no_journal(hub: Daemon) -> None:
    with box(uplink(hub.ws_url, owns=["/own/**"], queue_mib=1)) as edge, client(edge) as here:
        await_up(edge)
        hub.kill()
        await_down(edge)
        cue(here, "/own/cue", *range(20000))
        eventually(lambda: _int(state(edge, key="queue")) + _int(state(edge, key="drops")) == 20000)
        kept = _int(state(edge, key="queue"))
        assert 3000 < kept < 6000
        with listening(hub, edge) as there:
            assert cues_of(there, kept) == list(range(20000 - kept, 20000))


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def test_sighup_changes_removes_and_adds_uplinks(hub: Daemon) -> None:
    edge = boxed(hub)
    try:
        edge.start()
        await_up(edge)
        config = edge.directory / "clasp-edge.toml"
        hub.kill()
        await_down(edge)
        with client(edge) as here:
            cue(here, "/own/cue", *range(30))
        eventually(lambda: state(edge, key="queue") == 30)
        # Another address for the same hub: what waits still does.
        with Daemon() as other:
            config.write_text(uplink(other.ws_url, owns=["/own/**", "/other/**"]))
            with client(other) as there:
                subscribe(there, "/own/**", types=(SignalType.EVENT,))
                edge.hangup()
                assert cues_of(there, 30) == list(range(30))
                await_up(edge)
                with client(edge) as here:
                    put(here, "/other/x", 1)
                await_value(other, "/other/x", 1)
                # One more, and the first one goes.
                config.write_text(uplink(other.ws_url, name="second", owns=["/own/**"]))
                edge.hangup()
                await_up(edge, "second")
                eventually(lambda: state(edge) is None)
                with client(edge) as here:
                    put(here, "/other/x", 2)
                    cue(here, "/own/cue", 99)
                assert cues_of(there, 1) == [99]
                assert value(other, "/other/x") == 1
                config.write_text("")
                edge.hangup()
                eventually(lambda: state(edge, "second") is None)
        edge.assert_healthy()
        edge.stop()
    finally:
        edge.close()


def test_an_outage_is_named_and_over(hub: Daemon) -> None:
    with boxed(hub) as edge:
        await_up(edge)
        hub.kill()
        await_error(edge, hub.ws_url, "refused")
        hub.start()
        await_up(edge)
        assert state(edge, key="last_error") == ""
