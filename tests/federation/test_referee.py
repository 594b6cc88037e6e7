"""Writes that somebody has to decide about: locks, expected revisions and strategies hold between routers as in one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from support.client import WsClient
from support.console import ask
from support.daemon import Daemon
from support.federated import JOURNAL, await_down, await_up, await_value, box, client, frozen, uplink, value
from support.live import eventually

from clasp_edge.wire import Ack, Error, Qos, Set, Value

SETS: dict[str, object] = JOURNAL | {"state.lock_grace_s": 0}
LOCK = 400
"""security.lock_error_code"""


@contextmanager
def routers(shape: str) -> Iterator[dict[str, Daemon]]:
    """`a` and `b` below `hub`; with "chain", `b` below `middle` below `hub`."""
    with ExitStack() as stack:
        hub = stack.enter_context(Daemon(sets=SETS))
        found = {"hub": hub}
        above = hub
        if shape == "chain":
            above = found["middle"] = stack.enter_context(box(uplink(hub.ws_url, wants=["/**"]), sets=SETS))
        for name, upper in (("a", hub), ("b", above)):
            links = uplink(upper.ws_url, owns=[f"/{name}/**"], wants=["/**"])
            found[name] = stack.enter_context(box(links, sets=SETS))
        for name, router in found.items():
            if name != "hub":
                await_up(router)
        yield found


def write(
    at: WsClient, address: str, value: Value, *, lock: bool = False, unlock: bool = False, revision: int | None = None
) -> Ack:
    """It is accepted where it is made."""
    at.send(Set(address, value, revision=revision, lock=lock, unlock=unlock), Qos.CONFIRM)
    return at.recv_until(Ack, timeout=30.0)


def is_locked(router: Daemon, address: str) -> bool:
    found = ask(router.control_path, request="why", address=address)["result"]["findings"]
    return any("locked by" in each["text"] for each in found)


def refused(at: WsClient, address: str) -> Error:
    """The ERROR that comes afterwards."""
    error = at.recv_until(Error, timeout=30.0)
    assert error.address == address
    return error


def everywhere(found: dict[str, Daemon], address: str, value: Value) -> None:
    for router in found.values():
        await_value(router, address, value, 30.0)


@pytest.mark.parametrize("shape", ["hub", "chain"])
def test_a_lock_that_is_taken_at_one_box_holds_at_all_of_them(shape: str) -> None:
    with routers(shape) as found, client(found["a"]) as holder, client(found["b"]) as other:
        assert write(holder, "/sh/x", 1, lock=True).locked
        everywhere(found, "/sh/x", 1)
        write(other, "/sh/x", 99)
        assert refused(other, "/sh/x").message.startswith("LockHeld")
        everywhere(found, "/sh/x", 1)
        for value in range(2, 6):
            write(holder, "/sh/x", value)
        everywhere(found, "/sh/x", 5)
        with client(found["hub"]) as third:
            third.send(Set("/sh/x", 50), Qos.CONFIRM)
            assert refused(third, "/sh/x").code == LOCK
        write(holder, "/sh/x", 6, unlock=True)
        everywhere(found, "/sh/x", 6)
        write(other, "/sh/x", 7)
        everywhere(found, "/sh/x", 7)


@pytest.mark.parametrize("shape", ["hub", "chain"])
def test_of_two_who_lock_it_one_gets_it(shape: str) -> None:
    """The other one hears of it, and stands in nobody's way at its own box either."""
    with routers(shape) as found, client(found["a"]) as holder, client(found["b"]) as other:
        write(holder, "/sh/x", 1, lock=True)
        everywhere(found, "/sh/x", 1)
        write(other, "/sh/x", 2, lock=True)
        assert refused(other, "/sh/x").message.startswith("LockHeld")
        everywhere(found, "/sh/x", 1)
        write(holder, "/sh/x", 3, unlock=True)
        everywhere(found, "/sh/x", 3)
        with client(found["b"]) as third:
            write(third, "/sh/x", 4)
            everywhere(found, "/sh/x", 4)


def test_a_lock_ends_with_whoever_has_it_and_outlives_a_link() -> None:
    with routers("hub") as found, client(found["b"]) as other:
        holder = client(found["a"])
        write(holder, "/sh/x", 1, lock=True)
        everywhere(found, "/sh/x", 1)
        found["hub"].kill()
        await_down(found["a"])
        await_down(found["b"])
        found["hub"].start()
        await_up(found["a"], "hub")
        await_up(found["b"], "hub")
        everywhere(found, "/sh/x", 1)
        write(other, "/sh/x", 2)
        assert refused(other, "/sh/x").message.startswith("LockHeld")
        everywhere(found, "/sh/x", 1)
        holder.close()

        def free() -> bool:
            with client(found["hub"]) as third:
                third.send(Set("/sh/x", 3), Qos.CONFIRM)
                while not isinstance(answer := third.recv(), (Ack, Error)):
                    pass
                return isinstance(answer, Ack)

        eventually(free, 30.0)
        write(other, "/sh/x", 4)
        everywhere(found, "/sh/x", 4)


@pytest.mark.parametrize("shape", ["hub", "chain"])
def test_a_lock_whose_holder_is_gone_is_free_at_every_router(shape: str) -> None:
    """Nothing is written any more when it ends: that it has ended is told all the same, also beyond the next router."""
    with routers(shape) as found:
        holder = client(found["b"])
        write(holder, "/sh/x", 1, lock=True)
        everywhere(found, "/sh/x", 1)
        with client(found["hub"]) as third:
            third.send(Set("/sh/x", 50), Qos.CONFIRM)
            assert refused(third, "/sh/x").code == LOCK
            holder.close()
            eventually(lambda: not is_locked(found["hub"], "/sh/x"), 30.0)
            write(third, "/sh/x", 2)
        everywhere(found, "/sh/x", 2)


def test_a_lock_at_a_middle_router_holds_for_those_below_it() -> None:
    """To the router above they are one link."""
    with routers("chain") as found, client(found["middle"]) as holder, client(found["b"]) as other:
        write(holder, "/sh/x", 1, lock=True)
        everywhere(found, "/sh/x", 1)
        write(other, "/sh/x", 99)
        assert refused(other, "/sh/x").message.startswith("LockHeld")
        everywhere(found, "/sh/x", 1)
        write(holder, "/sh/x", 2)
        everywhere(found, "/sh/x", 2)


def test_of_two_who_lock_it_at_once_one_hears_that_it_has_not() -> None:
    with routers("hub") as found, client(found["hub"]) as one, client(found["b"]) as two:
        with frozen(found["hub"]):
            two.send(Set("/sh/x", 2, lock=True), Qos.CONFIRM)
            assert two.recv_until(Ack, timeout=30.0).locked
            one.send(Set("/sh/x", 1, lock=True), Qos.CONFIRM)

        def told(at: WsClient) -> str:
            """Whether it has it, in the end."""
            with contextlib.suppress(TimeoutError):
                at.recv_until(Error, timeout=2.0)
                return "refused"
            return ""

        eventually(lambda: told(one) or told(two), 30.0)
        everywhere(found, "/sh/x", value(found["hub"], "/sh/x"))


def test_a_lock_does_not_go_round_a_ring() -> None:
    """What comes back to where it was written, as locked, is not locked there any more, and must not be for ever."""
    with ExitStack() as stack:
        found = {name: stack.enter_context(Daemon(config="", sets=SETS)) for name in ("r0", "r1", "r2")}
        for below, above in (("r0", "r1"), ("r1", "r2"), ("r2", "r0")):
            link = uplink(found[above].ws_url, wants=["/**"])
            (found[below].directory / "clasp-edge.toml").write_text(link)
            assert not ask(found[below].control_path, request="reload")["result"]["problems"]
        for router in found.values():
            await_up(router)
        for number in range(6):
            with client(found["r0"]) as holder:
                write(holder, f"/sh/x{number}", number, lock=True)
                everywhere(found, f"/sh/x{number}", number)
                if number % 2:
                    found["r1"].restart()
                    await_up(found["r0"])
                    await_up(found["r1"])
        for number in range(6):
            address = f"/sh/x{number}"
            for router in found.values():
                eventually(lambda at=router, name=address: not is_locked(at, name), 30.0)  # type: ignore[misc]


@pytest.mark.parametrize("shape", ["hub", "chain"])
def test_an_owner_that_refuses_says_so_to_whoever_wrote_it_elsewhere(shape: str) -> None:
    with routers(shape) as found, client(found["a"]) as holder, client(found["b"]) as other:
        write(holder, "/a/x", 1, lock=True)
        everywhere(found, "/a/x", 1)
        write(other, "/a/x", 99)
        assert refused(other, "/a/x").message.startswith("LockHeld")
        everywhere(found, "/a/x", 1)


@pytest.mark.parametrize("shape", ["hub", "chain"])
def test_of_two_changes_of_one_state_one_is_refused(shape: str) -> None:
    """Both boxes have the revision that their clients expect; the hub says which of the writes came first."""
    with routers(shape) as found, client(found["a"]) as one, client(found["b"]) as two, client(found["hub"]) as third:
        revision = write(one, "/sh/x", 1).revision
        everywhere(found, "/sh/x", 1)
        for value in range(2, 6):
            revision = write(one, "/sh/x", value, revision=revision).revision
        everywhere(found, "/sh/x", 5)
        write(third, "/sh/x", 6)
        # Before the box has heard of it, or after; at one of the two it is refused.
        one.send(Set("/sh/x", 7, revision=revision), Qos.CONFIRM)
        everywhere(found, "/sh/x", 6)
        assert "RevisionConflict" in refused(one, "/sh/x").message
        latest = write(two, "/sh/x", 8).revision
        everywhere(found, "/sh/x", 8)
        write(two, "/sh/x", 9, revision=latest)
        everywhere(found, "/sh/x", 9)


def test_whoever_is_refused_hears_of_it_though_something_else_stands_there_by_now() -> None:
    """The write is older than what stands, and was on its way when that came: the router in the middle or the hub drops
    it. Another client of the same box has written there as well, and was not refused."""
    with (
        routers("chain") as found,
        client(found["b"]) as late,
        client(found["b"]) as other,
        client(found["a"]) as first,
    ):
        for value in range(0, 40, 4):
            write(other, "/sh/x", value)
            everywhere(found, "/sh/x", value)
            before = write(other, "/sh/x", value + 1).revision
            everywhere(found, "/sh/x", value + 1)
            with frozen(found["middle"]):
                write(late, "/sh/x", value + 2, revision=before)
                write(first, "/sh/x", value + 3)
                await_value(found["hub"], "/sh/x", value + 3)
            everywhere(found, "/sh/x", value + 3)
            assert "RevisionConflict" in refused(late, "/sh/x").message
        assert not [message for at in (other, first) for message in at.sync() if isinstance(message, Error)]


STRATEGIES = '[[state.strategy]]\npattern = "/sh/max"\nstrategy = "max"\n'


def test_the_greatest_of_what_two_boxes_write_at_once_stands() -> None:
    with Daemon(config=STRATEGIES, sets=SETS) as hub:
        links = [uplink(hub.ws_url, owns=[f"/{name}/**"], wants=["/sh/**"]) for name in "ab"]
        with box(links[0], sets=SETS) as a, box(links[1], sets=SETS) as b, client(a) as one, client(b) as two:
            await_up(a)
            await_up(b)
            for value in range(1, 30, 2):
                one.send(Set("/sh/max", value))
                two.send(Set("/sh/max", 31 - value))
            everywhere({"hub": hub, "a": a, "b": b}, "/sh/max", 30)
