"""The request `audit`: the newest entries of the trail, for the page.

    {"request": "audit"}    {"entries": [[1795902416.9, "kicked client 'desk' address 10.0.0.8:51000"]]}

Read on the journal's reading thread; what is not stored yet is told before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from clasp_edge.console.requests import Refused
from clasp_edge.journal.errors import Damaged, Unavailable
from clasp_edge.journal.journal import Journal
from clasp_edge.security.trail import Entry

MOST = 200


class AuditRequest:
    """The handler."""

    def __init__(self, journal: Journal, loop: asyncio.AbstractEventLoop) -> None:
        self._journal = journal
        self._loop = loop

    def __call__(self, request: Mapping[str, Any]) -> asyncio.Future[dict[str, Any]]:
        found: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        # Before the reading: what is stored meanwhile is in both, and never in none.
        unstored = self._journal.waiting_entries()

        def then(result: object) -> None:
            if found.done():
                return  # who asked has gone
            if isinstance(result, list):
                there = {kept.data for kept in result}
                waiting = [_told(entry) for entry in reversed(unstored) if entry not in there]
                stored = [_told(kept.data, kept.wall_us / 1e6) for kept in result]
                found.set_result({"entries": (waiting + stored)[:MOST]})
            elif isinstance(result, Damaged | Unavailable):
                found.set_exception(Refused("unavailable", f"the audit trail cannot be read: {result}"))
            else:
                assert isinstance(result, BaseException)
                found.set_exception(result)

        self._journal.newest_entries(MOST, then)
        return found


def _told(data: bytes, kept_s: float = 0.0) -> list[object]:
    """When (Unix seconds), and what happened."""
    try:
        entry = msgspec.json.decode(data, type=Entry)
    except msgspec.MsgspecError:
        return [kept_s, "an entry of a later version"]
    return [entry.time, entry.text()]
