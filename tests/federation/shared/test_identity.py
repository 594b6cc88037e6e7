"""The router's id stays, and its two series of numbers never meet."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from clasp_edge.federation.shared.identity import FILE_NAME, Identity
from clasp_edge.federation.shared.run_ids import REMEMBERED_RUNS, Runs, begin_run


def test_the_id_stays_the_same(tmp_path: Path) -> None:
    first = Identity(tmp_path / "data", 5, 5, 0)
    assert first.router_id.startswith("edge-")
    assert Identity(tmp_path / "data", 9, 9, 0).router_id == first.router_id
    assert Identity(tmp_path / "data", 9, 9, 0, "stage-left").router_id == "stage-left"


@pytest.mark.parametrize("junk", [b"", b"\xff\xfe", b"two\nlines", b"a/b", b"x" * 65, "ü".encode()])
def test_what_is_no_id_is_replaced(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(junk)
    made = Identity(tmp_path, 5, 5, 0).router_id
    assert made.startswith("edge-")
    assert Identity(tmp_path, 5, 5, 0).router_id == made


def test_an_id_that_an_editor_has_saved_is_the_same(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes("stage-left\r\n".encode("utf-8-sig"))
    assert Identity(tmp_path, 5, 5, 0).router_id == "stage-left"


def test_where_nothing_can_be_kept_there_is_an_id_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert Identity(tmp_path / "file" / "below", 5, 5, 0).router_id.startswith("edge-")


def test_numbers_of_the_log_and_of_the_process_have_epochs_of_their_own(tmp_path: Path) -> None:
    lives = [Identity(tmp_path, wall_us, 5, run) for run, wall_us in enumerate((5, 6, 9), start=1)]
    assert {route.origin for life in lives for route in (life.logged, life.unlogged)} == {lives[0].router_id}
    assert len({route for life in lives for route in (life.logged, life.unlogged)}) == 6


def test_a_record_keeps_its_epoch_through_all_later_runs(tmp_path: Path) -> None:
    """What a crash took from the log may have been told: its numbers come again, for other messages."""
    first, second, third = (Identity(tmp_path, 5 + run, 5, run) for run in (1, 2, 3))
    assert first.logged == second.route_of(1) == third.route_of(1)
    assert second.logged == third.route_of(2)


class Store:
    """Places by name, as a journal keeps them."""

    def __init__(self, run: int, places: dict[str, int], last_sequence: int = 0) -> None:
        self.run = run
        self.places = places
        self.last_sequence = last_sequence

    def cursors(self) -> dict[str, int]:
        return dict(self.places)

    def set_cursor(self, name: str, sequence: int) -> None:
        self.places[name] = sequence

    def forget_cursor(self, name: str) -> None:
        del self.places[name]


def test_a_run_after_a_backup_was_put_back_is_a_new_one(tmp_path: Path) -> None:
    """Both count as run 3 of the store; what they say has the same numbers and is not the same."""
    places: dict[str, int] = {}
    for run in (1, 2):
        begin_run(Store(run, places, 50 + 10 * run))
    backup = dict(places)
    before = Identity(tmp_path, 5, 5, 3, "box", begin_run(Store(3, places, 90)))
    after = Identity(tmp_path, 5, 5, 3, "box", begin_run(Store(3, backup, 80)))
    assert min(places.values()) > 1 << 60, "none of them holds records of the log back"
    assert before.logged.epoch != after.logged.epoch
    assert before.route_of(2) == after.route_of(2)
    everything = sys.maxsize
    assert after.own_up_to("box", after.logged.epoch) == everything
    assert after.own_up_to("box", after.unlogged.epoch) == everything
    assert after.own_up_to("box", after.route_of(1).epoch) == 70
    assert after.own_up_to("box", after.route_of(2).epoch) == 80
    assert after.own_up_to("box", before.logged.epoch) == 0, "it was lost here, and others have it still"
    assert after.own_up_to("other", after.logged.epoch) == 0


def test_what_another_router_has_heard_is_a_place_in_our_log(tmp_path: Path) -> None:
    """By the latest run that it knows; what it says of runs that are none of ours says nothing."""
    runs = {run: 100 + 2 * run for run in (1, 9, 10)}
    ids = dict(sorted(runs.items(), key=lambda item: str(item[0])))
    ours = Identity(tmp_path, 5, 5, 10, "box", Runs(ids, {}))
    assert ours.heard_up_to({}) is None
    assert ours.heard_up_to({7: 500}) is None
    assert ours.heard_up_to({102: 20, 118: 40, 7: 500}) == 40
    assert ours.heard_up_to({102: 20, 118: 40, 120: 55}) == 55


def test_only_so_many_runs_are_remembered() -> None:
    places = {"uplink:main": 7}
    for run in range(1, REMEMBERED_RUNS + 10):
        known = begin_run(Store(run, places))
    assert len(known.ids) == REMEMBERED_RUNS
    assert len(known.ended) == REMEMBERED_RUNS - 1
    assert len(places) == 2 * REMEMBERED_RUNS
    assert places["uplink:main"] == 7
