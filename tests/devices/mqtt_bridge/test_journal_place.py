"""Where a bridge goes on in the journal's log: never beyond what its broker lacks, and not before what it needs."""

from __future__ import annotations

from asyncio import AbstractEventLoop, new_event_loop
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.devices.mqtt_bridge.journal_place import JournalPlace
from clasp_edge.journal.cursor_names import BRIDGE


class Stored:
    """A log of so many records, and its cursors."""

    def __init__(self, last: int, cursors: dict[str, int] | None = None) -> None:
        self.last_sequence = last
        self._cursors = cursors or {}

    def cursor(self, name: str) -> int:
        return self._cursors.get(name, 0)

    def cursors(self) -> Mapping[str, int]:
        return self._cursors

    def set_cursor(self, name: str, sequence: int) -> None:
        self._cursors[name] = sequence

    def log_whole_messages(self, who: str, whole: bool) -> None:
        pass

    def waited_s(self, record: Any) -> int:
        return 0

    def fetch_after(self, sequence: int, limit_records: int, limit_bytes: int, then: Callable[[Any], None]) -> None:
        numbers = range(sequence + 1, min(self.last_sequence, sequence + limit_records) + 1)
        then([SimpleNamespace(number=number) for number in numbers])


@pytest.fixture
def loop() -> Iterator[AbstractEventLoop]:
    loop = new_event_loop()
    yield loop
    loop.close()


@given(st.lists(st.integers(1, 3), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_the_cursor_stands_before_the_first_that_is_not_done(steps: list[int], chance: Any) -> None:
    log = Stored(7)
    loop = new_event_loop()
    place = JournalPlace(log, "site", loop)
    loop.close()
    assert not place.behind
    numbers = []
    for step in steps:
        log.last_sequence += step
        numbers.append(log.last_sequence)
        place.waits(log.last_sequence)
    waiting = list(numbers)
    for number in chance.sample(numbers, len(numbers)):
        place.done(number)
        waiting.remove(number)
        place.rest()
        cursor = log.cursor(BRIDGE + "site")
        assert not waiting or cursor < waiting[0]
        assert cursor >= max((one for one in numbers if not waiting or one < waiting[0]), default=7)


def test_what_others_log_is_let_go_of_only_when_it_has_been_there_a_while(loop: AbstractEventLoop) -> None:
    log = Stored(3)
    place = JournalPlace(log, "site", loop)
    log.last_sequence = 10
    place.rest()
    assert log.cursor(BRIDGE + "site") == 3
    log.last_sequence = 12
    place.rest()
    assert log.cursor(BRIDGE + "site") == 10
    place.waits(13)
    place.rest()
    place.done(13)
    place.rest()
    assert log.cursor(BRIDGE + "site") == 13


def test_a_later_life_reads_from_the_cursor_to_the_end_of_the_log(loop: AbstractEventLoop) -> None:
    log = Stored(2000, {BRIDGE + "site": 5})
    place = JournalPlace(log, "site", loop)
    assert place.behind
    found: list[int] = []

    def take(record: Any) -> None:
        found.append(record.number)
        if record.number == 100:
            raise ValueError("one that cannot be used")

    place.read(take, loop.stop)
    loop.run_forever()
    assert found == list(range(6, 2001))
    assert not place.behind
    place.close()
    place.waits(2001)
    place.done(2001)
    assert log.cursor(BRIDGE + "site") == 5
