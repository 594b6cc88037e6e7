"""The router's id stays, and its two series of numbers never meet."""

from __future__ import annotations

from pathlib import Path

import pytest

from clasp_edge.federation.identity import FILE_NAME, Identity


def test_the_id_stays_the_same(tmp_path: Path) -> None:
    first = Identity(tmp_path / "data", 5, 0)
    assert first.router_id.startswith("edge-")
    assert Identity(tmp_path / "data", 9, 0).router_id == first.router_id
    assert Identity(tmp_path / "data", 9, 0, "stage-left").router_id == "stage-left"


@pytest.mark.parametrize("junk", [b"", b"\xff\xfe", b"two\nlines", b"a/b", b"x" * 65, "ü".encode()])
def test_what_is_no_id_is_replaced(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(junk)
    made = Identity(tmp_path, 5, 0).router_id
    assert made.startswith("edge-")
    assert Identity(tmp_path, 5, 0).router_id == made


def test_where_nothing_can_be_kept_there_is_an_id_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert Identity(tmp_path / "file" / "below", 5, 0).router_id.startswith("edge-")


def test_numbers_of_the_log_and_of_the_process_have_epochs_of_their_own(tmp_path: Path) -> None:
    identity = Identity(tmp_path, 5, 0)
    assert identity.logged.origin == identity.unlogged.origin == identity.router_id
    assert identity.unlogged.epoch != identity.logged.epoch


def test_numbers_given_again_after_a_crash_are_of_another_epoch(tmp_path: Path) -> None:
    """What a crash took from the log may have been told: its numbers come again, for other messages."""
    first = Identity(tmp_path, 5, 0)
    second = Identity(tmp_path, 9, first.logged.epoch, last_earlier=100)
    assert second.route_of(100) == first.route_of(100) == first.logged
    assert second.route_of(101) == second.logged != first.route_of(101)
