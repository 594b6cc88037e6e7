"""The ids of this router's runs: one that no other start has, kept in the journal with the records it names.

A data directory that was copied, or put back from a backup, counts its starts from where it was; its run ids never come
again. Imports little, so that a router without federation can note its run too.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from clasp_edge.journal.cursor_names import ENDED, NOT_A_RECORD, RUN

FIRST_RUN_ID = 1 << 62
"""Above all epochs that versions without run ids have counted."""

REMEMBERED_RUNS = 512
"""Runs whose ids are kept: more starts than the log of a router holds."""


class Runs(NamedTuple):
    """Of a router, by their numbers. `ended`: the last record that each has stored; nothing of the one that runs, nor
    of those of versions that did not note it."""

    ids: Mapping[int, int]
    ended: Mapping[int, int]


class RunLog(Protocol):
    """What is needed of a journal (`journal.journal.Journal`)."""

    @property
    def run(self) -> int: ...
    @property
    def last_sequence(self) -> int: ...
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


def begin_run(journal: RunLog | None) -> Runs:
    """Give this start its run id, and note it beside those of the runs whose records the log may hold still, and where
    the run before has ended. The number of the run of a router without a journal is 0."""
    if journal is None or not journal.run:
        return Runs({0: new_run_id()}, {})
    ids, ended = _kept(journal, RUN), _kept(journal, ENDED)
    before = max(ids, default=0)
    if before and before not in ended:
        ended[before] = journal.last_sequence | NOT_A_RECORD
        journal.set_cursor(f"{ENDED}{before}", ended[before])
    for run in sorted(ids)[: max(0, len(ids) + 1 - REMEMBERED_RUNS)]:
        for prefix, kept in ((RUN, ids), (ENDED, ended)):
            if kept.pop(run, None) is not None:
                journal.forget_cursor(f"{prefix}{run}")
    ids[journal.run] = new_run_id()
    journal.set_cursor(f"{RUN}{journal.run}", ids[journal.run])
    return Runs(ids, {run: place & (NOT_A_RECORD - 1) for run, place in ended.items()})


def _kept(journal: RunLog, prefix: str) -> dict[int, int]:
    """What the journal has of each run under such names."""
    return {int(name[len(prefix) :]): kept for name, kept in journal.cursors().items() if name.startswith(prefix)}
