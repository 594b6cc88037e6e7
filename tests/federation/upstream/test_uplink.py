"""A box and its hub, both clasp-edge: what is said at one end is heard at the other, and nothing is said twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.client import WsClient
from support.daemon import Daemon
from support.federated import JOURNAL, await_up, await_value, box, client, state, uplink
from support.live import eventually, fresh, get, of_type, put, subscribe
from support.mqtt_client import MqttClient

from clasp_edge.wire import Error, ErrorCode, Phase, Publish, Qos, Set, SignalType, Ttl, TtlMode


@pytest.fixture(scope="module")
def hub() -> Iterator[Daemon]:
    with Daemon(sets={"name": "The Hub"}) as running:
        yield running


@pytest.fixture(scope="module")
def linked(hub: Daemon) -> Iterator[Daemon]:
    policy = {"/own/all/**": "log", "/own/none/**": "drop"}
    config = uplink(hub.ws_url, owns=["/own/**", "/mqtt/**"], wants=["/show/**"], policy=policy)
    with box(config, sets=JOURNAL | {"state.param_ttl_s": 1234}, mqtt=True) as running:
        await_up(running)
        yield running


@pytest.fixture
def ends(hub: Daemon, linked: Daemon) -> Iterator[tuple[WsClient, WsClient]]:
    """A client of the hub and one of the box."""
    with client(hub) as there, client(linked) as here:
        yield there, here


# ---- what is carried ----


@pytest.mark.parametrize("area", ["/own", "/show"])
def test_a_param_goes_both_ways_and_comes_once(ends: tuple[WsClient, WsClient], area: str) -> None:
    address = f"{area}{fresh()}"
    for listener in ends:
        subscribe(listener, address)
    for number, writer in enumerate((*ends, *ends), start=1):
        writer.send(Set(address, number), qos=0)
        for listener in ends:
            assert listener.recv_type(Set).value == number
    for listener in ends:
        assert listener.drain() == []


@pytest.mark.parametrize("signal", [SignalType.EVENT, SignalType.STREAM, SignalType.TIMELINE])
def test_what_is_published_goes_both_ways_and_comes_once(ends: tuple[WsClient, WsClient], signal: SignalType) -> None:
    address = f"/show{fresh()}"
    listeners = ends
    for listener in listeners:
        subscribe(listener, address)
    for number, (writer, other) in enumerate([ends, ends[::-1]]):
        writer.send(Publish(address, signal=signal, value=number))
        heard = other.recv_type(Publish)
        assert (heard.signal, heard.value) == (signal, number)
    for listener in listeners:
        assert listener.drain() == []


def test_a_stroke_arrives_whole_and_events_between_its_moves_are_not_lost(ends: tuple[WsClient, WsClient]) -> None:
    for writer, other in (ends, ends[::-1]):
        address = f"/show{fresh()}"
        subscribe(other, f"{address}/**")
        writer.send(Publish(f"{address}/g", signal=SignalType.GESTURE, value=0, phase=Phase.START, id=1))
        for number in range(20):
            writer.send(Publish(f"{address}/g", signal=SignalType.GESTURE, value=number, phase=Phase.MOVE, id=1))
            writer.send(Publish(f"{address}/e", signal=SignalType.EVENT, value=number))
        writer.send(Publish(f"{address}/g", signal=SignalType.GESTURE, value=99, phase=Phase.END, id=1))
        heard: list[Publish] = []
        while len(heard) < 21 or not any(message.phase is Phase.END for message in heard):
            heard.append(other.recv_type(Publish))
        events = [message.value for message in heard if message.signal is SignalType.EVENT]
        strokes = [message for message in heard if message.signal is SignalType.GESTURE]
        assert events == list(range(20))
        assert [strokes[0].phase, strokes[-2].phase, strokes[-1].phase] == [Phase.START, Phase.MOVE, Phase.END]
        assert strokes[-2].value == 19


def test_what_is_neither_owned_nor_wanted_stays(ends: tuple[WsClient, WsClient]) -> None:
    for writer, other in (ends, ends[::-1]):
        base = fresh()
        subscribe(other, f"{base}/**")
        put(writer, f"{base}/private", 1)
        writer.send(Publish(f"{base}/event", signal=SignalType.EVENT))
        put(writer, f"/show{base}", 1)
        subscribe(other, f"/show{base}")
        assert [message.address for message in of_type(other.drain(), Set | Publish)] in ([], [f"/show{base}"])


def test_what_a_router_says_of_itself_stays(hub: Daemon, linked: Daemon) -> None:
    assert state(linked) == "up"
    with client(hub) as there:
        assert get(there, "/clasp-edge/uplinks/hub/state") is None


def test_locks_hold_at_the_hub_and_revisions_stay_at_home(ends: tuple[WsClient, WsClient]) -> None:
    there, here = ends
    address = f"/own{fresh()}"
    put(here, address, 1, lock=True)
    for number in (2, 3):
        put(here, address, number)
    eventually(lambda: (param := get(there, address)) is not None and param.value == 3)
    there.send(Set(address, 4), Qos.CONFIRM)
    assert there.recv_until(Error, timeout=20.0).message.startswith("LockHeld")
    put(here, address, 5, unlock=True)
    eventually(lambda: (param := get(there, address)) is not None and param.value == 5)
    put(there, address, 6)


def test_a_write_that_the_hub_refuses_is_taken_back(ends: tuple[WsClient, WsClient], linked: Daemon) -> None:
    """And the address is not deaf afterwards."""
    there, here = ends
    address = f"/show{fresh()}"
    put(there, address, "mine", lock=True)
    await_value(linked, address, "mine")
    put(here, address, "yours")
    refusal = here.recv_until(Error)
    assert (refusal.code, refusal.address) == (ErrorCode.REVISION_CONFLICT, address), refusal
    await_value(linked, address, "mine")
    put(there, address, "still mine")
    await_value(linked, address, "still mine")
    put(there, address, "free", unlock=True)
    await_value(linked, address, "free")
    put(here, address, "now yours")
    eventually(lambda: (param := get(there, address)) is not None and param.value == "now yours")


# ---- lifetimes and clears ----


@pytest.mark.parametrize(
    ("ttl", "carried"),
    [
        (Ttl(TtlMode.NEVER), Ttl(TtlMode.NEVER)),
        (Ttl(TtlMode.SLIDING, 60), Ttl(TtlMode.SLIDING, 60)),
        (Ttl(TtlMode.ABSOLUTE, 60), Ttl(TtlMode.ABSOLUTE, 60)),
        (None, Ttl(TtlMode.SLIDING, 1234)),
    ],
    ids=["never", "sliding", "absolute", "the box's default"],
)
def test_a_param_lives_as_long_there_as_here(ends: tuple[WsClient, WsClient], ttl: Ttl | None, carried: Ttl) -> None:
    there, here = ends
    address = f"/own{fresh()}"
    subscribe(there, address)
    here.send(Set(address, 1, ttl=ttl), qos=0)
    assert there.recv_type(Set).ttl == carried


def test_a_param_that_is_cleared_is_cleared_there(ends: tuple[WsClient, WsClient], hub: Daemon, linked: Daemon) -> None:
    there, here = ends
    topic = fresh()[1:]
    address = f"/mqtt/{topic}"
    put(here, address, 1)
    await_value(hub, address, 1)
    subscribe(there, address)
    with MqttClient(linked.mqtt_address) as mqtt:
        mqtt.connect("clearer")
        mqtt.publish(topic, b"", retain=True)
        assert there.recv_type(Set).value is None
        await_value(hub, address, None)
        await_value(linked, address, None)
    subscribe(there, address, id=2)
    put(here, address, 2)
    assert there.recv_until(Set).value == 2


# ---- policies while all is well ----


def test_a_param_under_log_arrives_with_every_value(ends: tuple[WsClient, WsClient]) -> None:
    there, here = ends
    address = f"/own/all{fresh()}"
    subscribe(there, address)
    for number in range(300):
        here.send(Set(address, number), qos=0)
    assert [there.recv_type(Set).value for _ in range(300)] == list(range(300))
    there.send(Set(address, "other"), qos=0)
    eventually(lambda: (param := get(here, address)) is not None and param.value == "other")


# ---- crossing writes ----


def test_writes_that_cross_end_alike(hub: Daemon, linked: Daemon) -> None:
    """Both ends write the same params as fast as they can; whoever was last at the hub stands, everywhere."""
    addresses = [f"/show{fresh()}" for _ in range(3)]
    with client(hub) as there, client(linked) as here:
        for number in range(400):
            for writer in (there, here):
                for address in addresses:
                    writer.send(Set(address, f"{number} {'there' if writer is there else 'here'}"), qos=0)
        there.sync()
        here.sync()

        def alike() -> bool:
            pairs = [(get(there, address), get(here, address)) for address in addresses]
            return all(one is not None and other is not None and one.value == other.value for one, other in pairs)

        eventually(alike)
        before = [get(there, address) for address in addresses]
        assert alike()
        assert [get(there, address) for address in addresses] == before  # and at rest


# ---- how it is doing ----


def test_the_hub_shows_the_peer(hub: Daemon, linked: Daemon) -> None:
    with client(hub) as there:
        subscribe(there, "/clasp-edge/peers/**")
        peers = [param for param in there.snapshot if param.address.startswith("/clasp-edge/peers/")]
        peers = [param for param in peers if param.address.count("/") == 4]  # below stands what the box says
        told = {param.address.rpartition("/")[2]: param.value for param in peers}
        told.pop("url", None)
        assert told == {"state": "up", "name": "clasp-edge"}
    assert state(linked, key="peer") == "clasp-edge"
    await_value(linked, "/clasp-edge/uplinks/hub/queue", 0)  # told once a second


def test_sighup_at_the_hub_leaves_the_link_unlimited(
    ends: tuple[WsClient, WsClient], hub: Daemon, linked: Daemon
) -> None:
    _, here = ends
    hub.hangup()
    eventually(lambda: "reload: applied" in hub.stderr)
    base = f"/own{fresh()}"
    for number in range(5000):
        here.send(Set(f"{base}/{number % 50}", number), qos=0)
    await_value(hub, f"{base}/49", 4999)
    assert "429" not in str(state(linked, key="last_error"))


def test_two_links_to_one_hub_leave_each_other_alone(hub: Daemon) -> None:
    """And what goes both ways arrives once."""
    links = [uplink(hub.ws_url, name, owns=["/two/**"]) for name in ("one", "other")]
    with box(*links) as edge, client(edge) as here, client(hub) as there:
        await_up(edge, "one", "other")
        for listener in (here, there):
            subscribe(listener, "/two/**")
        for writer in (here, there):
            for number in range(20):
                writer.send(Publish("/two/cue", signal=SignalType.EVENT, value=number))
                writer.send(Set("/two/param", number), qos=0)
        for listener in (here, there):
            heard = listener.drain(0.5)
            assert [message.value for message in of_type(heard, Publish)] == list(range(20))
        assert get(here, "/two/param") is not None
        assert "connected again" not in edge.stderr
        assert (state(edge, "one"), state(edge, "other")) == ("up", "up")
