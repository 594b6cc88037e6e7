"""Times of day over the days on which clocks are changed, and over clocks that are set."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from clasp_edge.rules.dry_run import DryRun
from clasp_edge.rules.model import Rule
from clasp_edge.rules.parse import read_rules

ZONE = ZoneInfo("Europe/Berlin")


class Zoned(DryRun):
    """A dry run in a place that has summer time."""

    def local_time(self, wall_s: float) -> tuple[float, int]:
        local = datetime.fromtimestamp(wall_s, ZONE)
        return local.hour * 3600 + local.minute * 60 + local.second + local.microsecond / 1e6, local.weekday()

    def now(self) -> str:
        """What the clock on the wall says."""
        return datetime.fromtimestamp(self.wall_s(), ZONE).strftime("%a %H:%M")


def fired(begins: str, hours: float, at: str = "02:30", **trigger: object) -> list[str]:
    """When a rule at a time of day fires, from a local time on."""
    world: list[Zoned] = []
    times: list[str] = []
    table = {"id": "r", "trigger": {"type": "time", "at": at, **trigger}, "do": {"set": "/a", "value": 1}}
    faults: list[str] = []
    rules = read_rules([table], [], {}, lambda key, sentence: faults.append(f"{key}: {sentence}"))
    assert not faults
    starts_s = datetime.fromisoformat(begins).replace(tzinfo=ZONE).timestamp()
    world.append(Zoned(lambda line: times.append(world[0].now()), starts_s=starts_s))
    world[0].load(rules)
    world[0].start()
    world[0].pass_time(hours * 3600)
    return times


def test_an_hour_that_there_is_not() -> None:
    assert fired("2026-03-28T12:00", 48) == ["Sun 03:00", "Mon 02:30"]


def test_an_hour_that_comes_twice() -> None:
    assert fired("2026-10-24T12:00", 48) == ["Sun 02:30", "Mon 02:30"]


@pytest.mark.parametrize("at", ["01:59", "03:00", "03:01"])
@pytest.mark.parametrize("day", ["2026-03-28T12:00", "2026-10-24T12:00"])
def test_the_hours_around_come_once(day: str, at: str) -> None:
    assert fired(day, 24, at) == [f"Sun {at}"]


def test_days_are_those_on_the_wall() -> None:
    assert fired("2026-10-23T12:00", 96, "00:00", days=["sun"]) == ["Sun 00:00"]


def test_a_clock_that_is_set_back_makes_nothing_come_again() -> None:
    told: list[str] = []
    table = {"id": "r", "trigger": {"type": "time", "at": "12:00"}, "do": {"set": "/a", "value": 1}}
    world = Zoned(told.append, starts_s=datetime(2026, 6, 1, 11, 0, tzinfo=ZONE).timestamp())
    world.load(read_rules([table], [], {}, lambda key, sentence: None))
    world.pass_time(3700)
    assert len(told) == 1
    world.set_clock(world.wall_s() - 1800)
    world.pass_time(7200)
    assert len(told) == 1
    world.pass_time(86_400)
    assert len(told) == 2


def test_a_time_that_comes_while_rules_are_replaced() -> None:
    """A rule that has a time no more is passed over, and the others have theirs."""

    def tables(trigger: dict[str, object], others: int) -> list[dict[str, object]]:
        noon = {"id": "noon", "trigger": {"type": "time", "at": "12:00"}, "do": {"set": "/noon", "value": 1}}
        fresh = [
            {"id": f"r{number}", "trigger": {"type": "set", "pattern": "/in"}, "do": {"set": "/out", "value": others}}
            for number in range(others)
        ]
        return [{"id": "first", "trigger": trigger, "do": {"set": "/first", "value": 1}}, noon, *fresh]

    def read(given: list[dict[str, object]]) -> list[Rule]:
        faults: list[str] = []
        rules = read_rules(given, [], {}, lambda key, sentence: faults.append(f"{key}: {sentence}"))
        assert not faults
        return list(rules)

    told: list[str] = []
    world = DryRun(told.append)
    world.load(read(tables({"type": "time", "at": "12:00"}, 0)))
    world.start()
    lost: list[str] = []
    for _ in world.engine.loading(
        read(tables({"type": "set", "pattern": "/go"}, 200)), {}, lost, lambda index: iter(())
    ):
        if "r0" in world.engine.states and not world.params:
            world.pass_time(12 * 3600 + 1)
    assert world.params == {"/noon": 1}
    world.pass_time(3600)
    assert len(told) == 1
