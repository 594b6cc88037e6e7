"""Two hubs that stand in for each other: what one of them confirms the other one has, whenever the first is lost."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import pytest
from support.client import WsClient
from support.clock_shim import ByClock, ShiftedClock
from support.console import ask
from support.daemon import Daemon, Manager
from support.federated import await_error, await_up, await_value, box, client, frozen, state, uplink, value
from support.live import eventually, get, subscribe

from clasp_edge.config.model import PAIR_UPLINK
from clasp_edge.federation.downstream.pair_link import MAX_WAITING
from clasp_edge.federation.downstream.peer_cursors import EARLIER_RECORDS
from clasp_edge.journal.cursor_names import UPLINK
from clasp_edge.journal.queries import noted_cursors
from clasp_edge.wire import (
    Ack,
    FederationOp,
    FederationSync,
    Hello,
    Publish,
    Qos,
    Replay,
    Set,
    SignalType,
    Welcome,
)

STRICT: dict[str, object] = {"journal.mode": "strict"}
GROUP: dict[str, object] = {"journal.mode": "group", "journal.commit_interval_ms": 20}
PAIR = "/clasp-edge/pair/"
WAIT_S = 40.0


def hub(
    name: str, other: Daemon | str, sets: dict[str, object], manager: Manager | None = None, **more: object
) -> Daemon:
    """One of a pair, not started. `other`: the one it dials, or the id of the one that dials it."""
    own: dict[str, object] = {"federation.router_id": name}
    if isinstance(other, str):
        own["federation.pair.router_id"] = other
    else:
        own["federation.pair.url"] = other.ws_url
    return Daemon(sets=sets | own | {f"federation.pair.{key}": said for key, said in more.items()}, manager=manager)


@contextmanager
def pair(sets: dict[str, object], **more: object) -> Iterator[tuple[Daemon, Daemon]]:
    """In step: the second one dials."""
    with hub("a", "b", sets, **more) as first, hub("b", first, sets, **more) as second:
        await_in_step(first, second)
        yield first, second


def await_in_step(*hubs: Daemon) -> None:
    for one in hubs:
        await_value(one, f"{PAIR}state", "in step", WAIT_S)


def confirmed(at: WsClient, number: int) -> None:
    """An event and a param, and the ACK of both."""
    at.send(Publish("/x/cue", signal=SignalType.EVENT, value=number))
    at.send(Set("/x/level", number), Qos.CONFIRM)
    assert isinstance(at.recv_until(Ack, WAIT_S), Ack)


def cues(daemon: Daemon, pattern: str = "/x/cue") -> list[object]:
    """Those that are in the daemon's journal."""
    with client(daemon, "auditor") as asking:
        asking.send(Replay(pattern=pattern, types=(SignalType.EVENT,)), Qos.CONFIRM)
        found: list[object] = []
        while not isinstance(message := asking.recv(), Ack):
            assert isinstance(message, Publish), message
            found.append(message.value)
        return found


@pytest.mark.parametrize("lost", [0, 1])
def test_what_a_client_was_told_is_stored_is_at_the_other_one(lost: int) -> None:
    """One of both is killed in the middle of it, again and again, and the other one is asked while it is away."""
    chance = random.Random(lost)
    with pair(STRICT) as both:
        dying, living = both[lost], both[1 - lost]
        number = 0
        for _ in range(2):
            with client(dying) as at:
                for number in range(number + 1, number + 2 + chance.randrange(20)):  # noqa: B020
                    confirmed(at, number)
                at.send(Publish("/x/cue", signal=SignalType.EVENT, value=-number))
                dying.kill()
            with client(living) as asking:
                param = get(asking, "/x/level")
            assert param is not None
            assert param.value == number
            assert sure(living) == list(range(1, number + 1))
            dying.start()
            await_in_step(*both)
        # What was not confirmed yet when it was killed may be at the other one alone.
        assert sure(dying) == sure(living)


def test_no_confirmation_while_the_other_one_has_not_stored_it() -> None:
    with pair(STRICT, alone="wait") as (first, second), client(first) as at:
        with frozen(second):
            at.send(Set("/x/level", 1), Qos.CONFIRM)
            await_value(first, f"{PAIR}state", "alone", WAIT_S)
            assert not any(isinstance(message, Ack) for message in at.drain())
            assert value(first, "/x/level") == 1
        assert isinstance(at.recv_until(Ack, WAIT_S), Ack)
        await_value(second, "/x/level", 1, WAIT_S)


def test_alone_it_goes_on_and_says_so() -> None:
    with pair(STRICT) as (first, second):
        second.kill()
        with client(first) as at:
            confirmed(at, 1)
            await_value(first, f"{PAIR}state", "alone", WAIT_S)
            confirmed(at, 2)
        assert "pair: ALONE, and goes on" in first.stderr
        assert value(first, f"{PAIR}problem")
        second.start()
        await_in_step(first, second)
        assert cues(second) == [1, 2]


def test_who_waits_for_a_confirmation_hears_what_is_said_meanwhile() -> None:
    """A client that has written, and boxes; and gets answers to what it asks."""
    with (
        pair(STRICT, alone="wait") as (first, second),
        box(uplink(first.ws_url, owns=["/one/**"], wants=["/**"]), sets=STRICT) as one,
        box(uplink(first.ws_url, owns=["/two/**"], wants=["/**"]), sets=STRICT) as two,
    ):
        await_up(one)
        await_up(two)
        second.stop()
        await_value(first, f"{PAIR}state", "alone", WAIT_S)
        with client(first) as at, client(one) as above_one, client(two) as above_two:
            for listener in (at, above_one, above_two):
                subscribe(listener, "/**", types=[SignalType.EVENT])
            at.send(Set("/x/level", 1), Qos.CONFIRM)
            for number, said_at in enumerate((above_one, above_two, at, above_two, above_one), 1):
                said_at.send(Publish("/two/cue", signal=SignalType.EVENT, value=number), Qos.CONFIRM)
                for listener in (at, above_one, above_two):
                    if listener is not said_at:
                        assert listener.recv_until(Publish, WAIT_S).value == number
                at.sync(WAIT_S)
            at.send(Set("/x/other", 1), Qos.CONFIRM)
            assert not any(isinstance(message, Ack) for message in at.drain())
            # The states of both are compared as well.
            one.restart()
            await_up(one)
            second.start()
            assert [at.recv_until(Ack, WAIT_S).address for _ in range(2)] == ["/x/level", "/x/other"]


def test_a_box_keeps_what_only_one_of_both_has() -> None:
    """In mode `group`, too: its queue holds an event until the other hub has it."""
    with (
        pair(GROUP, alone="wait") as (first, second),
        box(uplink(first.ws_url, owns=["/x/**"]), sets=GROUP) as one,
    ):
        await_up(one)
        with client(one) as at:
            at.send(Publish("/x/cue", signal=SignalType.EVENT, value=1))
            at.sync()
            eventually(lambda: cues(second) == [1] and queued(one) == 0, WAIT_S)
            with frozen(second):
                at.send(Publish("/x/cue", signal=SignalType.EVENT, value=2))
                at.sync()
                eventually(lambda: cues(first) == [1, 2], WAIT_S)
                await_value(first, f"{PAIR}state", "alone", WAIT_S)
                assert queued(one) == 1
            eventually(lambda: queued(one) == 0, WAIT_S)
            assert cues(second) == [1, 2]


def test_a_hub_that_comes_back_serves_boxes_when_it_has_caught_up() -> None:
    """What its boxes say and hear meanwhile comes once and in order."""
    with pair(GROUP) as (first, second):
        links = [first.ws_url, second.ws_url]
        with (
            box(uplink(links, owns=["/x/**"], wants=["/**"]), sets=GROUP) as one,
            box(uplink(links, owns=["/two/**"], wants=["/**"]), sets=GROUP) as two,
        ):
            await_up(one, "hub")
            await_up(two, "hub")
            with client(one) as at, client(two) as there:
                subscribe(there, "/x/cue")
                said = 0

                def say(count: int) -> None:
                    nonlocal said
                    for _ in range(count):
                        said += 1
                        at.send(Publish("/x/cue", signal=SignalType.EVENT, value=said))
                    at.sync()

                say(20)
                first.kill()
                say(20)
                eventually(lambda: state(one, key="hub") == second.ws_url, WAIT_S)
                first.start()
                while state(one, key="hub") != first.ws_url or state(two, key="hub") != first.ws_url:
                    say(1)
                say(5)
                heard = [there.recv_until(Publish).value for _ in range(said)]
                assert heard == list(range(1, said + 1))
            await_in_step(first, second)
            assert cues(first) == cues(second) == list(range(1, said + 1))


def test_a_hub_that_never_had_a_box_knows_what_those_of_the_lost_one_have_not_heard() -> None:
    """All boxes are at the other hub, and one is off while more is said than is looked back for."""
    count = EARLIER_RECORDS + 2_000
    with pair(GROUP) as (first, second), box(uplink([first.ws_url, second.ws_url], wants=["/x/**"]), sets=GROUP) as one:
        await_up(one)
        one.stop()
        with client(first) as at:
            for number in range(count):
                at.send(Publish("/x/cue", signal=SignalType.EVENT, value=number))
                if number % 1_000 == 0:
                    at.sync()
            at.sync()
        eventually(lambda: len(cues(second)) == count, WAIT_S)
        await_in_step(first, second)
        # What the first one may lack of the second one's log would be told to boxes as well: it lacks nothing.
        eventually(lambda: places(second)[UPLINK + PAIR_UPLINK] >= count, WAIT_S)
        first.kill()
        one.start()
        eventually(lambda: len(cues(one)) == count, WAIT_S)
        assert cues(one) == list(range(count))
        first.start()


def places(at: Daemon) -> dict[str, int]:
    """In its log, as they are stored."""
    directory = str(at.data_dir / "journal")
    with lmdb.open(directory, readonly=True, max_dbs=0) as env, env.begin() as txn:
        return dict(noted_cursors(txn))


def test_a_third_router_is_refused_and_named() -> None:
    with pair(GROUP) as (first, second), hub("c", first, GROUP) as third:
        await_error(third, "this router's pair is 'b', not 'c'", name="pair", timeout=WAIT_S)
        assert "is refused: this router's pair is 'b', not 'c'" in first.stderr
        assert value(third, f"{PAIR}state") == "alone"
        await_in_step(first, second)


def test_a_router_that_knows_nothing_of_the_pair_is_named() -> None:
    with Daemon(sets=GROUP | {"name": "plain"}) as plain, hub("b", plain, GROUP) as one:
        with client(one) as asking:

            def said() -> bool:
                param = get(asking, f"{PAIR}problem")
                return param is not None and "'plain' takes no part in the pair" in str(param.value)

            eventually(said, WAIT_S)
        assert value(one, f"{PAIR}state") == "alone"


def test_a_pair_that_leads_back_to_itself_is_named() -> None:
    one = hub("b", "a", GROUP)
    one.sets["websocket.listen"] = "127.0.0.1:0"
    with one:
        port = one.ws_url
        one.stop()
        one.sets |= {"websocket.listen": port.removeprefix("ws://"), "federation.pair.url": port}
        one.start()
        await_error(one, "leads back to itself", name="pair", timeout=WAIT_S)


def problem(at: Daemon, *words: str) -> None:
    """Until what is wrong with the pair has these words."""
    with client(at) as asking:

        def said() -> bool:
            param = get(asking, f"{PAIR}problem")
            return param is not None and all(word in str(param.value) for word in words)

        eventually(said, WAIT_S)


def test_why_there_is_no_pair_stands_at_both_hubs() -> None:
    """A file that was copied from one hub to the other as it is; an id that was mistyped; nobody there."""
    with hub("a", "b", GROUP) as first:
        with hub("a", first, GROUP) as copy:
            for at in (first, copy):
                problem(at, "another router has the id of this one, 'a'", "federation.router_id")
        with hub("c", first, GROUP) as mistyped:
            for at in (first, mistyped):
                problem(at, "this router's pair is 'b', not 'c'")
            first.stop()
            problem(mistyped, "connection refused")
            first.start()
        with hub("b", first, GROUP) as second:
            await_in_step(first, second)
            assert value(first, f"{PAIR}problem") == ""


def test_what_is_configured_differently_is_named() -> None:
    with hub("a", "b", STRICT) as first, hub("b", first, GROUP, alone="wait") as second:
        for one in (first, second):
            await_value(one, f"{PAIR}differs", "journal.mode, federation.pair.alone", WAIT_S)
        await_in_step(first, second)
        with client(first) as at:
            confirmed(at, 1)
        assert value(second, "/x/level") == 1
        assert cues(second) == [1]


def test_where_both_have_an_url_one_of_them_dials() -> None:
    with hub("a", "b", GROUP) as first:
        second = hub("b", first, GROUP)
        with second:
            await_in_step(first, second)
            first.stop()
            first.sets["websocket.listen"] = first.ws_url.removeprefix("ws://")
            first.sets["federation.pair.url"] = second.ws_url
            first.start()
            await_in_step(first, second)
            eventually(lambda: state(first, "pair") == "up" and state(second, "pair") == "down", WAIT_S)
            await_in_step(first, second)


def test_a_hub_that_had_not_stored_what_it_passed_on_is_told_it_in_order() -> None:
    """It is killed in the middle of its interval; the other one has everything, from it and from the box."""
    slow: dict[str, object] = GROUP | {"journal.commit_interval_ms": 60_000}
    with hub("a", "b", slow) as first, hub("b", first, GROUP) as second:
        await_in_step(first, second)
        with (
            box(uplink([first.ws_url, second.ws_url], owns=["/x/**"]), sets=GROUP) as one,
            client(one) as at,
        ):
            await_up(one)

            def say(begin: int, end: int) -> None:
                for number in range(begin, end):
                    at.send(Publish("/x/cue", signal=SignalType.EVENT, value=number))
                at.sync()

            say(1, 21)
            eventually(lambda: cues(second) == list(range(1, 21)), WAIT_S)
            first.kill()
            say(21, 31)
            eventually(lambda: cues(second) == list(range(1, 31)), WAIT_S)
            first.start()
            eventually(lambda: len(cues(first)) == 30, WAIT_S)
            assert cues(first) == list(range(1, 31))


def test_clocks_that_are_a_year_apart(tmp_path: Path) -> None:
    clock = ShiftedClock(tmp_path)
    clock.shift(365 * 86_400)
    with hub("a", "b", STRICT) as first, hub("b", first, STRICT, ByClock(clock)) as second:
        await_in_step(first, second)
        for number, one in enumerate((first, second, first), 1):
            with client(one) as at:
                confirmed(at, number)
            for other in (first, second):
                await_value(other, "/x/level", number, WAIT_S)
        assert cues(first) == cues(second) == [1, 2, 3]


def test_what_waits_for_the_other_one_is_bounded_and_gone_with_its_box() -> None:
    """A router that asks and asks for what nobody confirms, while the other one is away."""
    with hub("a", "b", GROUP, alone="wait") as first:
        for name in ("one", "two"):
            with introduced(first, name) as asking:
                ask_for_all(asking, 2_000)
                eventually(lambda: 0 < waiting(first) <= MAX_WAITING, WAIT_S)
                ask_for_all(asking, 1_000)
                assert 0 < waiting(first) <= MAX_WAITING
            eventually(lambda: waiting(first) == 0, WAIT_S)
        with introduced(first, "three") as asking:
            ask_for_all(asking, 1_000)
            with hub("b", first, GROUP, alone="wait") as second:
                await_in_step(first, second)
                stored = 0
                while stored < 1_000:
                    message = asking.recv(WAIT_S)
                    if isinstance(message, FederationSync) and message.op is FederationOp.STORED:
                        assert (message.since_revision or 0) > stored
                        stored = message.since_revision or 0


def introduced(at: Daemon, name: str) -> WsClient:
    """A router that speaks by hand."""
    peer = WsClient(at.ws_url)
    peer.send(Hello(1, name, ("param", "federation")))
    peer.recv_type(Welcome)
    peer.send(FederationSync(FederationOp.PEER, (), {"versions": 1}, 7, name))
    peer.send(FederationSync(FederationOp.DECLARE_NAMESPACES, ("/x/**",), origin=name))
    peer.sync(WAIT_S)
    return peer


def ask_for_all(peer: WsClient, count: int) -> None:
    """Checkpoints 1, 2 ... `count`."""
    for number in range(1, count + 1):
        peer.send(FederationSync(FederationOp.CHECKPOINT, since_revision=number))
    peer.sync(WAIT_S)


def waiting(at: Daemon) -> int:
    """Confirmations that wait for the other router."""
    return int(ask(at.control_path, request="status")["result"]["pair"]["waiting"])


def queued(at: Daemon) -> int:
    """What waits for its hub now; the param of that is written once a second."""
    return int(ask(at.control_path, request="status")["result"]["uplinks"]["hub"]["queue"])


def sure(at: Daemon) -> list[int]:
    """Those of its journal's cues that were confirmed."""
    return [cue for cue in cues(at) if isinstance(cue, int) and cue > 0]
