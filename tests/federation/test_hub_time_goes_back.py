"""A hub's time may begin anew at an earlier one: a clock without a battery, a backup that was put back. What was
written by its old time keeps its order, at whatever router it lies and whenever that comes back."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from support.clock_shim import ByClock, ShiftedClock
from support.daemon import Daemon
from support.federated import JOURNAL, await_down, await_up, await_value, box, client, frozen, uplink
from support.live import put

STORED_S = 0.5
BACK_S = 6.0
"""More than `clock_tolerance_ms`, and than what versions from the future are brought together into."""


@pytest.fixture
def clock(tmp_path: Path) -> ShiftedClock:
    """Of a router that does not know what time it is."""
    found = ShiftedClock(tmp_path)
    found.claim_synchronised(False)
    return found


def test_what_only_its_writer_has_stands_against_older_copies_that_come_later(
    clock: ShiftedClock, tmp_path: Path
) -> None:
    with (
        Daemon(sets=JOURNAL, manager=ByClock(clock)) as hub,
        box(uplink(hub.ws_url, owns=["/a/**"], wants=["/**"]), sets=JOURNAL) as owner,
        box(uplink(hub.ws_url, owns=["/b/**"], wants=["/**"]), sets=JOURNAL) as other,
        client(owner) as at_owner,
        client(other) as at_other,
    ):
        await_up(owner)
        await_up(other)
        for address in ("/a/x", "/open"):
            put(at_owner, address, "first")
            await_value(other, address, "first")
        time.sleep(STORED_S)
        with frozen(hub):
            shutil.copytree(
                hub.data_dir, tmp_path / "backup", ignore=lambda _, names: [n for n in names if n.endswith(".sock")]
            )
        time.sleep(BACK_S)
        for address in ("/a/x", "/open"):
            put(at_owner, address, "second")
            await_value(other, address, "second")
        clock.shift(-3600)
        hub.kill()
        await_down(owner)
        await_down(other)
        put(at_owner, "/a/x", "third")
        put(at_owner, "/open", "third")
        put(at_other, "/b/x", "third")
        shutil.rmtree(hub.data_dir)
        shutil.copytree(tmp_path / "backup", hub.data_dir)
        with frozen(other):
            hub.start()
            await_up(owner)
            time.sleep(2.0)
        await_up(other)
        for router in (hub, owner, other):
            for address in ("/a/x", "/open", "/b/x"):
                await_value(router, address, "third")
        with client(hub) as at_hub:
            put(at_hub, "/open", "fourth")
        for router in (hub, owner, other):
            await_value(router, "/open", "fourth")


def test_what_is_written_there_at_once_is_later_than_what_others_bring(clock: ShiftedClock) -> None:
    """Its machine was replaced, and the clock of the new one is not set."""
    with (
        Daemon(sets=JOURNAL, manager=ByClock(clock)) as hub,
        box(uplink(hub.ws_url, wants=["/open"]), sets=JOURNAL) as early,
        box(uplink(hub.ws_url, wants=["/**"]), sets=JOURNAL) as late,
        client(late) as at_late,
    ):
        await_up(early)
        await_up(late)
        put(at_late, "/x", "before")
        await_value(hub, "/x", "before")
        time.sleep(1.0)
        clock.shift(-3600)
        hub.kill()
        await_down(early)
        await_down(late)
        shutil.rmtree(hub.data_dir)
        with frozen(late):
            hub.start()
            await_up(early)
            with client(hub) as at_hub:
                put(at_hub, "/x", "after")
        await_up(late)
        for router in (hub, late):
            await_value(router, "/x", "after")


def test_a_router_that_does_not_know_the_time_tells_nobody_what_it_is(clock: ShiftedClock) -> None:
    with Daemon(sets=JOURNAL) as top:
        links = uplink(top.ws_url, wants=["/**"])
        middle = Daemon(config=links, sets=JOURNAL, manager=ByClock(clock))
        with middle, box(uplink(middle.ws_url, owns=["/a/**"], wants=["/**"]), sets=JOURNAL) as below:
            await_up(middle)
            await_up(below)
            with client(below) as here:
                put(here, "/a/x", "first")
                await_value(top, "/a/x", "first")
                time.sleep(STORED_S)
                clock.shift(-3600)
                middle.kill()
                await_down(below)
                put(here, "/a/x", "second")
                time.sleep(BACK_S)
                with frozen(top):
                    middle.start()
                    await_up(below)
                    put(here, "/a/x", "third")
                    time.sleep(1.0)
                await_up(middle)
                for router in (top, middle, below):
                    await_value(router, "/a/x", "third", timeout=30.0)
            assert "the hub's time counts" in middle.stderr
            assert "the hub's time counts" not in below.stderr
