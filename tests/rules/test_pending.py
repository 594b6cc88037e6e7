"""What rules have under way when the router stops: it goes on after the restart, on the clock."""

from __future__ import annotations

from typing import Any

import pytest
from rules.test_engine import World, one
from support.client import WsClient
from support.daemon import Daemon
from support.live import eventually, get, put

from clasp_edge import wire
from clasp_edge.rules.dry_run import MONDAY_S
from clasp_edge.rules.pending import NAME, PendingStore, collect, recall_times, resume

DELAYED = one('type = "set", pattern = "/in/*"', '{ set = "/on/{1}" }, { delay_s = 10 }, { set = "/off/{1}" }')
FADED = one('type = "event", pattern = "/go"', '{ fade = "/level", to = 1.0, start = 0.0, over_s = 10, rate_hz = 1 }')
HELD = one('type = "threshold", address = "/heat", above = 50', for_s="10")


class Documents:
    """A journal's documents, without a disk."""

    def __init__(self, stored: bytes | None = None) -> None:
        self.stored = stored
        self.source: Any = None
        self.wanted = 0

    def notes(self) -> dict[str, bytes | None]:
        return {NAME: self.stored} if self.stored else {}

    def keep_notes(self, source: Any) -> None:
        self.source = source

    def notes_changed(self, urgent: bool) -> None:
        self.wanted += 1

    def commit(self) -> None:
        for value in self.source(False).values():
            self.stored = value


def again(before: World, toml: str, away_s: float = 0.0) -> World:
    """A new process with what the one before had under way."""
    pending = list(collect(before.engine))
    world = World(toml)
    world.params.update(before.params)
    assert resume(world.engine, pending, away_s) == []
    return world


def test_a_delay_goes_on() -> None:
    world = World(DELAYED)
    assert world.after("set /in/a 3", "wait 4") == ["r: set /on/a 3"]
    world = again(world, DELAYED)
    assert world.after("wait 5.5") == []
    assert world.after("wait 1") == ["r: set /off/a 3"], "with the captures and the value of then"
    assert list(collect(world.engine)) == []


def test_time_runs_on_while_the_router_is_off() -> None:
    world = World(DELAYED)
    world.after("set /in/a 3", "wait 4")
    assert again(world, DELAYED, away_s=5).after("wait 1.5") == ["r: set /off/a 3"]
    assert again(world, DELAYED, away_s=500).after("wait 0.1") == ["r: set /off/a 3"], "at once"


def test_a_fade_goes_on_and_ends_exactly() -> None:
    world = World(FADED)
    world.after("event /go", "wait 4.2")
    world = again(world, FADED)
    assert world.after("wait 20")[-1] == "r: set /level 1.0"
    assert list(collect(world.engine)) == []


def test_a_condition_goes_on_holding() -> None:
    world = World(HELD)
    world.after("set /heat 20", "set /heat 60", "wait 7")
    world = again(world, HELD)
    assert world.after("wait 2") == []
    assert len(world.after("wait 2")) == 1


def test_a_rule_that_is_another_now_loses_it_and_says_so() -> None:
    world = World(DELAYED)
    world.after("set /in/a 3")
    other = World(DELAYED.replace("delay_s = 10", "delay_s = 20"))
    lost = resume(other.engine, list(collect(world.engine)), 0)
    assert lost == ["rule r: actions after a delay, the rule is not the same any more"]
    assert other.after("wait 30") == []


@pytest.mark.parametrize(("toml", "begin"), [(DELAYED, "set /in/a 3"), (FADED, "event /go")])
def test_what_is_over_is_stored_no_more(toml: str, begin: str) -> None:
    world = World(toml)
    documents = Documents()
    store = PendingStore(world.engine, documents)
    store.restore()
    world.under_way = store.changed  # type: ignore[method-assign]
    world.after(begin, "wait 1")
    documents.commit()
    assert documents.stored
    world.after("wait 20")
    documents.commit()
    assert documents.stored is None


DAILY = """
[[rule]]
id = "daily"
trigger = { type = "time", at = "10:00", catch_up_s = 3600 }
do = [{ publish = "/daily" }]
"""


def test_a_time_of_day_that_was_had_is_not_made_up_for() -> None:
    before = World(DAILY)
    documents = Documents()
    store = PendingStore(before.engine, documents)
    store.restore()
    before.under_way = store.changed  # type: ignore[method-assign]
    assert before.after("at 10:05") == ["daily: event /daily"]
    documents.commit()
    for stored, comes in ((documents.stored, 0), (None, 1)):
        after = World("", starts_s=before.wall_s() + 60)
        recall_times(after.engine, stored)
        after.take(DAILY)
        assert len(after.done) == comes
        assert len(after.after("at 10:05")) == 1  # the next day


@pytest.mark.parametrize(("up_until", "comes"), [("10:01", 0), ("09:59", 1), ("23:00", 1)])
def test_without_a_journal_it_is_known_until_when_the_router_was_up(up_until: str, comes: int) -> None:
    hours, minutes = map(int, up_until.split(":"))

    class Again(World):
        def up_before_s(self) -> float:
            return MONDAY_S + hours * 3600 + minutes * 60

    assert len(Again(DAILY, starts_s=MONDAY_S + 10 * 3600 + 120).done) == comes


def test_a_document_that_cannot_be_read_is_named() -> None:
    assert PendingStore(World(DELAYED).engine, Documents(b"\xff")).restore() == ["what was under way cannot be read"]


@pytest.mark.parametrize("kill", [False, True])
def test_over_a_restart_of_the_router(kill: bool) -> None:
    rules = one('type = "event", pattern = "/go"', '{ set = "/on", value = 1 }, { delay_s = 3 }, { set = "/off" }')
    with Daemon(config=rules, sets={"journal.mode": "strict"}) as daemon:
        with WsClient(daemon.ws_url).hello("desk") as client:
            client.send(wire.Publish("/go", wire.SignalType.EVENT, 7))
            eventually(lambda: get(client, "/on") is not None)
            put(client, "/later", 1)  # acknowledged when it is stored, and the delay with it
        if kill:
            daemon.kill()
        else:
            daemon.stop()
        daemon.start()
        with WsClient(daemon.ws_url).hello("desk") as client:
            eventually(lambda: (param := get(client, "/off")) is not None and param.value == 7)
        assert "lost" not in daemon.stderr


FADES = one('type = "event", pattern = "/go"', '{ fade = "/level", to = 1.0, start = 0.0, over_s = 4, rate_hz = 2 }')
HOLDS = one('type = "threshold", address = "/heat", above = 50', '{ set = "/off", value = true }', for_s="4")


@pytest.mark.parametrize(("rules", "ends", "value"), [(FADES, "/level", 1.0), (HOLDS, "/off", True)])
def test_a_fade_and_a_hold_go_on_after_a_kill(rules: str, ends: str, value: object) -> None:
    with Daemon(config=rules, sets={"journal.mode": "strict"}) as daemon:
        with WsClient(daemon.ws_url).hello("desk") as client:
            put(client, "/heat", 60)
            client.send(wire.Publish("/go", wire.SignalType.EVENT))
            put(client, "/later", 1)
            eventually(lambda: get(client, "/level") is not None or rules is HOLDS)
            put(client, "/last", 1)  # acknowledged when it is stored, and what is under way with it
        for _ in range(2):
            daemon.kill()
            daemon.start()
        with WsClient(daemon.ws_url).hello("desk") as client:
            eventually(lambda: (param := get(client, ends)) is not None and param.value == value)
        assert "lost" not in daemon.stderr
