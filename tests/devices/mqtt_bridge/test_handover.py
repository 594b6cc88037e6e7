"""From a thread to the loop: in order, complete, many at a time, and held back when the loop does not keep up."""

from __future__ import annotations

import asyncio
import threading

from clasp_edge.devices.mqtt_bridge.events import Event, Trouble
from clasp_edge.devices.mqtt_bridge.handover import MAX_PER_TURN, MAX_WAITING, Handover


class CountingLoop:
    """The running loop, counting how often a thread wakes it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.wakes = 0

    def call_soon_threadsafe(self, callback: object) -> None:
        self.wakes += 1
        self.loop.call_soon_threadsafe(callback)  # type: ignore[arg-type]

    def call_soon(self, callback: object) -> None:
        self.loop.call_soon(callback)  # type: ignore[arg-type]


def events(count: int) -> list[Event]:
    return [Trouble(str(number)) for number in range(count)]


async def _all_of(count: int) -> tuple[list[list[Event]], int]:
    loop = CountingLoop()
    batches: list[list[Event]] = []
    done = asyncio.Event()

    def receive(batch: list[Event]) -> None:
        batches.append(batch)
        if sum(map(len, batches)) == count:
            done.set()

    handover = Handover(loop, receive, lambda: None)  # type: ignore[arg-type]
    sent = events(count)
    thread = threading.Thread(target=lambda: [handover.put(event) for event in sent])
    thread.start()
    # The loop is busy while they gather.
    thread.join()
    await done.wait()
    assert [event for batch in batches for event in batch] == sent
    return batches, loop.wakes


def test_a_busy_loop_is_woken_once_for_many() -> None:
    batches, wakes = asyncio.run(_all_of(3 * MAX_PER_TURN))
    assert wakes == 1
    assert [len(batch) for batch in batches] == [MAX_PER_TURN] * 3


def test_nothing_is_lost_while_both_run() -> None:
    async def scenario() -> None:
        got: list[Event] = []
        done = asyncio.Event()
        sent = events(20_000)

        def receive(batch: list[Event]) -> None:
            got.extend(batch)
            if len(got) == len(sent):
                done.set()

        handover = Handover(asyncio.get_running_loop(), receive, lambda: None)
        thread = threading.Thread(target=lambda: [handover.put(event) for event in sent])
        thread.start()
        await done.wait()
        thread.join()
        assert got == sent

    asyncio.run(scenario())


def test_a_full_handover_says_when_there_is_room_again() -> None:
    async def scenario() -> None:
        room = asyncio.Event()
        handover = Handover(asyncio.get_running_loop(), lambda batch: None, room.set)
        for event in events(MAX_WAITING - 1):
            handover.put(event)
        assert not handover.full
        handover.put(Trouble("last"))
        assert handover.full
        assert not room.is_set()
        await room.wait()
        assert not handover.full

    asyncio.run(scenario())


def test_after_the_end_nothing_is_delivered() -> None:
    async def scenario() -> list[Event]:
        got: list[Event] = []
        handover = Handover(asyncio.get_running_loop(), got.extend, lambda: None)
        handover.put(Trouble("early"))
        handover.close()
        handover.put(Trouble("late"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return got

    assert asyncio.run(scenario()) == []


def test_a_loop_that_has_ended_is_not_an_error_for_the_thread() -> None:
    async def scenario() -> Handover:
        return Handover(asyncio.get_running_loop(), lambda batch: None, lambda: None)

    handover = asyncio.run(scenario())
    handover.put(Trouble("too late"))
    handover.put(Trouble("much too late"))
    assert not handover.full
