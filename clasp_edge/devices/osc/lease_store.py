"""Subscriptions over a restart of the router: stored as one document beside the journal's log, taken up at the start.

A device that has subscribed renews in its own time and cannot know that the router was away.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from clasp_edge.devices.osc.source import Source
from clasp_edge.devices.osc.subscribers import StoredLease, Subscribers

log = logging.getLogger("clasp_edge.osc")

NAME = "osc-subscribers"


class Journal(Protocol):
    """What is needed of the journal."""

    def notes(self) -> Mapping[str, bytes | None]: ...
    def keep_notes(self, source: Callable[[bool], Mapping[str, bytes | None]]) -> None: ...
    def notes_changed(self, urgent: bool) -> None: ...


class LeaseStore:
    """`now_s` is Unix time, which is what a document can hold: after a start without a clock what was stored may have
    ended, and the device asks again."""

    def __init__(self, leases: Subscribers, journal: Journal, now_s: Callable[[], float]) -> None:
        self._leases = leases
        self._journal = journal
        self._now_s = now_s
        self._due = False
        self._frozen: list[StoredLease] | None = None
        journal.keep_notes(self._source)
        leases.changed = self._changed

    def restore(self, revive: Callable[[StoredLease], Source | None]) -> None:
        """Take up what is stored. `revive` makes the source of one, None where it is not allowed any more."""
        stored = self._journal.notes().get(NAME)
        if stored is None:
            return
        try:
            leases = msgspec.msgpack.decode(stored, type=list[StoredLease])
        except msgspec.DecodeError:
            log.warning("the stored OSC subscriptions cannot be read, devices have to subscribe again")
            return
        for lease in leases:
            source = revive(lease)
            if source is not None:
                self._leases.restore(lease, source, self._now_s())

    def freeze(self) -> None:
        """The process stops: what there is now is what is stored, whatever ends from here on."""
        self._frozen = self._leases.stored(self._now_s())

    def _changed(self) -> None:
        if not self._due:
            self._due = True
            self._journal.notes_changed(False)

    def _source(self, everything: bool) -> Mapping[str, bytes | None]:
        if not (everything or self._due):
            return {}
        self._due = False
        stored = self._leases.stored(self._now_s()) if self._frozen is None else self._frozen
        return {NAME: msgspec.msgpack.encode(stored) if stored else None}
