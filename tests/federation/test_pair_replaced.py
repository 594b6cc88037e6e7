"""A hub of a pair that lost its data directory, or had an older one put back: it is told again what it lacks, before
the pair is in step. So what was confirmed outlives the loss of the other hub also then."""

from __future__ import annotations

import shutil

import pytest
from federation.test_pair import GROUP, STRICT, await_in_step, confirmed, cues, hub, queued
from support.daemon import Daemon
from support.federated import await_stored, await_up, box, client, uplink
from support.live import eventually

WAIT_S = 40.0


def put_back(one: Daemon, *, backup: bool) -> None:
    """While it is stopped: its data directory as it was, or none."""
    shutil.rmtree(one.data_dir)
    if backup:
        shutil.copytree(one.directory / "backup", one.data_dir)


@pytest.mark.parametrize(
    ("lost", "backup", "served_by"),
    [(0, False, 0), (0, False, 1), (1, False, 0), (1, False, 1), (0, True, 1), (1, True, 0)],
)
def test_a_box_that_was_away_hears_from_a_replaced_hub_what_the_lost_one_had_confirmed(
    lost: int, backup: bool, served_by: int
) -> None:
    """The replaced one dials, or is dialled; the events were said at both; the box has only ever been at one."""
    sets = STRICT if backup else GROUP
    with hub("a", "b", sets) as first, hub("b", first, sets) as second:
        await_in_step(first, second)
        replaced, left = (first, second) if lost == 0 else (second, first)
        links = [one.ws_url for one in ((replaced, left), (left, replaced))[served_by]]
        with box(uplink(links, owns=["/box/**"], wants=["/x/**"]), sets=GROUP) as away:
            await_up(away)
            with client(left) as at:
                confirmed(at, 1)
            eventually(lambda: cues(away) == [1], WAIT_S)
            away.stop()

            replaced.stop()
            shutil.copytree(replaced.data_dir, replaced.directory / "backup")
            replaced.start()
            await_in_step(first, second)
            for number, one in enumerate((left, replaced, left, replaced), 2):
                with client(one) as at:
                    confirmed(at, number)
            eventually(lambda: cues(left) == cues(replaced) == [1, 2, 3, 4, 5], WAIT_S)
            # What is told again after any restart is not what is looked at here.
            left.stop()
            left.start()
            await_in_step(first, second)

            replaced.stop()
            put_back(replaced, backup=backup)
            replaced.start()
            await_in_step(first, second)
            assert cues(replaced)[-4:] == [2, 3, 4, 5]
            left.kill()
            away.start()
            eventually(lambda: cues(away) == [1, 2, 3, 4, 5], WAIT_S)
            left.start()


def test_what_a_killed_hub_had_confirmed_and_not_stored_is_told_to_it_again() -> None:
    """The other one has it, and may be lost for ever after that: a box that was away hears it all the same."""
    slow = GROUP | {"journal.commit_interval_ms": 5000}
    with hub("a", "b", GROUP) as left, hub("b", left, slow) as killed:
        await_in_step(left, killed)
        with box(uplink([killed.ws_url, left.ws_url], owns=["/box/**"], wants=["/x/**"]), sets=GROUP) as away:
            await_up(away)
            with client(killed) as at:
                confirmed(at, 1)
            eventually(lambda: cues(away) == [1], WAIT_S)
            await_stored(killed, "/x/cue", 1)
            away.stop()
            with client(killed) as at:
                for number in (2, 3):
                    confirmed(at, number)
            killed.restart()
            await_in_step(left, killed)
            assert cues(killed) == [1, 2, 3]
            left.kill()
            away.start()
            eventually(lambda: cues(away) == [1, 2, 3], WAIT_S)
            left.start()


def test_what_the_other_one_has_is_told_to_it_once() -> None:
    """A restart is no loss: nobody hears anything again, and nothing is counted as waiting. What a kill took of a hub,
    also of what was first said there, it has again from the other one."""
    with hub("a", "b", GROUP) as first, hub("b", first, GROUP) as second:
        await_in_step(first, second)
        with box(uplink([first.ws_url, second.ws_url], wants=["/x/**"]), sets=GROUP) as one:
            await_up(one)
            for number, at in enumerate((first, second, first), 1):
                with client(at) as said:
                    confirmed(said, number)
            eventually(lambda: cues(one) == [1, 2, 3], WAIT_S)
            for again in (second, first, second):
                again.restart()
                await_in_step(first, second)
            with client(second) as said:
                confirmed(said, 4)
            eventually(lambda: cues(one) == [1, 2, 3, 4], WAIT_S)
            eventually(lambda: cues(first) == cues(second) == [1, 2, 3, 4], WAIT_S)
            assert queued(one) == 0
