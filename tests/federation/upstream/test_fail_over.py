"""A box that goes from one hub to another: what must all arrive is heard once and in order, whichever hub had it."""

from __future__ import annotations

from support.client import WsClient
from support.daemon import Daemon
from support.federated import JOURNAL, await_up, box, client, frozen, state, uplink
from support.live import eventually, subscribe

from clasp_edge.wire import Ack, Publish, Qos, Replay, SignalType

SETS: dict[str, object] = JOURNAL | {"journal.commit_interval_ms": 5}
EVENTS = 40


def say(at: WsClient, first: int, count: int) -> None:
    for number in range(first, first + count):
        at.send(Publish("/one/cue", signal=SignalType.EVENT, value=number))
    at.sync()


def heard(at: WsClient, count: int) -> list[object]:
    found = [at.recv_until(Publish).value for _ in range(count)]
    return found + [message.value for message in at.drain() if isinstance(message, Publish)]


def box_at(first: Daemon, second: Daemon, name: str) -> Daemon:
    links = uplink([first.ws_url, second.ws_url], owns=[f"/{name}/**"], wants=["/**"], dead_after_ms=1000)
    return box(links, sets=SETS)


def test_what_was_said_before_the_first_visit_to_the_other_hub_is_told() -> None:
    """The box hears nothing while its hub dies and others go on at the second one, where it has never been."""
    with Daemon(sets=SETS) as second, box(uplink(second.ws_url, wants=["/**"]), sets=SETS) as first:
        await_up(first)
        with box_at(second, second, "one") as one, box_at(first, second, "two") as two:
            await_up(one)
            await_up(two)
            with client(one) as here, client(two) as there:
                subscribe(there, "/one/cue")
                say(here, 0, 5)
                assert heard(there, 5) == list(range(5))
                with frozen(two):
                    first.kill()
                    say(here, 5, EVENTS)
                    eventually(lambda: state(one, key="queue") == 0)  # all of it is at the second hub
                assert heard(there, EVENTS) == list(range(5, 5 + EVENTS))
        first.start()


def test_a_box_whose_log_was_empty_when_it_had_heard_all_is_told_as_well() -> None:
    """It was started anew since, and goes by what its journal says: so that must be there from the first link on."""
    with Daemon(sets=SETS) as second, box(uplink(second.ws_url, wants=["/**"]), sets=SETS) as first:
        await_up(first)
        with client(second) as here, box_at(first, second, "two") as two:
            await_up(two)
            say(here, 0, 5)
            await_value_of_cue(two, 4)
            two.stop()
            first.kill()
            say(here, 5, EVENTS)
            two.start()
            await_value_of_cue(two, 4 + EVENTS)
            assert cues(two) == list(range(5 + EVENTS))
        first.start()


def test_what_only_the_dead_hub_had_confirmed_is_told_again_by_the_box() -> None:
    """It has passed nothing on, for the link between the hubs is cut, and it never comes back; the order stays."""
    with Daemon(sets=SETS) as second, Daemon(sets=SETS) as first:
        with box_at(first, second, "one") as one, box_at(second, first, "two") as two:
            await_up(one)
            await_up(two)
            with client(one) as here, client(two) as there:
                subscribe(there, "/one/cue")
                say(here, 0, EVENTS)
                eventually(lambda: state(one, key="queue") == 0)  # confirmed
                first.kill()
                say(here, EVENTS, 5)
                assert heard(there, EVENTS + 5) == list(range(EVENTS + 5))
        first.start()


def test_all_that_the_other_hub_has_not_heard_is_told_however_long_ago_it_was() -> None:
    """The hubs never hear of each other. Between its visits at the second one the box was at the first, and was started
    anew: nothing but the second hub knows how far it has heard."""
    with Daemon(sets=SETS) as second, Daemon(sets=SETS) as first, client(second) as there:
        subscribe(there, "/one/cue")
        with box(links_to(second), sets=SETS) as one:
            await_up(one)
            say_from(one, 0, 5)
            assert heard(there, 5) == list(range(5))
            move(one, first)
            say_from(one, 5, EVENTS)
            move(one, second)
            say_from(one, 5 + EVENTS, 5)
            assert heard(there, EVENTS + 5) == list(range(5, EVENTS + 10))
            eventually(lambda: state(one, key="queue") == 0)
            assert state(one, key="drops") == 0


def cues(daemon: Daemon) -> list[object]:
    """Those that are in the daemon's journal."""
    with client(daemon, "auditor") as asking:
        asking.send(Replay(pattern="/one/cue", types=(SignalType.EVENT,)), Qos.CONFIRM)
        found: list[object] = []
        while not isinstance(message := asking.recv(), Ack):
            assert isinstance(message, Publish), message
            found.append(message.value)
        return found


def await_value_of_cue(daemon: Daemon, value: int) -> None:
    """Until this one has come there and is stored."""
    eventually(lambda: value in cues(daemon), 30.0)


def links_to(hub: Daemon) -> str:
    return uplink(hub.ws_url, owns=["/one/**"])


def say_from(daemon: Daemon, first: int, count: int) -> None:
    with client(daemon) as here:
        say(here, first, count)
    eventually(lambda: state(daemon, key="queue") == 0, 30.0)


def move(daemon: Daemon, hub: Daemon) -> None:
    daemon.stop()
    (daemon.directory / "clasp-edge.toml").write_text("\n" + links_to(hub))
    daemon.start()
    await_up(daemon)
