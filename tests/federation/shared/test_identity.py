"""The router's id stays, and its two series of numbers never meet."""

from __future__ import annotations

from pathlib import Path

import pytest

from clasp_edge.federation.shared.identity import FILE_NAME, Identity


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
