"""The short version of `make crash`: a few kills in each mode, and power cuts simulated below the file system."""

from __future__ import annotations

import pytest
from crash import cuts, kills

from clasp_edge.journal.errors import Damaged


@pytest.mark.parametrize("mode", ["strict", "group"])
def test_killed_under_load(mode: str) -> None:
    assert kills.run(5, mode) > 100


@pytest.mark.parametrize("mode", ["strict", "group"])
def test_power_cuts(mode: str) -> None:
    assert cuts.run(60, 1.0, mode) > 1000


def test_a_disk_that_lies_is_found_out() -> None:
    with pytest.raises((AssertionError, Damaged)):
        cuts.run(20, 0.5, syncs_work=False)
