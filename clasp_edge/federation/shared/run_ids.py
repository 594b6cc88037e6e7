"""The ids of this router's runs: one that no other start has, kept in the journal with the records it names.

A data directory that was copied, or put back from a backup, counts its starts from where it was; its run ids never come
again. Imports little, so that a router without federation can note its run too.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Protocol

from clasp_edge.journal.cursor_names import RUN

FIRST_RUN_ID = 1 << 62
"""Above all epochs that versions without run ids have counted."""

REMEMBERED_RUNS = 512
"""Runs whose ids are kept: more starts than the log of a router holds."""


class RunLog(Protocol):
    """What is needed of a journal (`journal.journal.Journal`)."""

    @property
    def run(self) -> int: ...
    def cursors(self) -> Mapping[str, int]: ...
    def set_cursor(self, name: str, sequence: int) -> None: ...
    def forget_cursor(self, name: str) -> None: ...


def tag_of(router_id: str) -> int:
    """48 bits that stand for a router in versions (dataplane/state.pxd). Not 0."""
    digest = hashlib.blake2b(router_id.encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") or 1


def new_run_id() -> int:
    """An even number above all epochs that are counted (those of older versions)."""
    return FIRST_RUN_ID | int.from_bytes(os.urandom(7), "big") << 1


def begin_run(journal: RunLog | None) -> dict[int, int]:
    """Give this start its run id, and note it beside those of the runs whose records the log may hold still. They are
    returned by the runs' numbers; that of a router without a journal is 0."""
    if journal is None or not journal.run:
        return {0: new_run_id()}
    known = {int(name[len(RUN) :]): run_id for name, run_id in journal.cursors().items() if name.startswith(RUN)}
    for run in sorted(known)[: max(0, len(known) + 1 - REMEMBERED_RUNS)]:
        journal.forget_cursor(f"{RUN}{run}")
        del known[run]
    known[journal.run] = new_run_id()
    journal.set_cursor(f"{RUN}{journal.run}", known[journal.run])
    return known
