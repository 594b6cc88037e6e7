"""The journal as a part of the process: the data directory's lock, the journal itself, REPLAY's handler.

Imported only where a journal is kept.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from clasp_edge.config.model import Config
from clasp_edge.console.requests import Requests
from clasp_edge.console.sources import StatusSources
from clasp_edge.daemon.part import CannotStart, Part
from clasp_edge.journal.journal import Journal
from clasp_edge.journal.lock import DirectoryLock, InUse
from clasp_edge.journal.replay import Replays
from clasp_edge.router.router import Router
from clasp_edge.wire import MessageType

log = logging.getLogger("clasp_edge")

FLUSH_TIMEOUT_S = 1.2
CLOSE_TIMEOUT_S = 0.4
"""Together with what clients get to take their leave, within what a service manager allows."""


class _Claim:
    """The data directory's lock, once it can be had: a disk may be read-only at the start and not later."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock: DirectoryLock | None = None

    def __call__(self) -> None:
        """Raises InUse, OSError."""
        if self._lock is not None and not self._lock.keeps_others_out():
            self._lock.release()
            self._lock = None
        if self._lock is None:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._lock = DirectoryLock(self._directory)

    def release(self) -> None:
        if self._lock is not None:
            self._lock.release()


class JournalPart(Part):
    """A journal that is being kept, and the lock that goes with it."""

    name = "journal"

    def __init__(self, journal: Journal, claim: _Claim, loop: asyncio.AbstractEventLoop) -> None:
        self._journal = journal
        self._loop = loop
        self._claim = claim

    @property
    def log(self) -> Journal | None:
        """The journal, where it keeps a log."""
        return self._journal if self._journal.mode in ("group", "strict") else None

    def apply_config(self, config: Config) -> None:
        self._journal.apply_config(config.journal)

    def offer(self, requests: Requests) -> None:
        from clasp_edge.daemon.audit_request import AuditRequest

        requests.add("audit", AuditRequest(self._journal, self._loop))

    def describe(self, sources: StatusSources) -> None:
        from clasp_edge.console.journal_report import add_journal

        add_journal(sources, self._journal)

    def stop(self) -> None:
        # Before the goodbye: in strict mode replies wait for it.
        self._journal.flush(FLUSH_TIMEOUT_S)

    def close(self) -> None:
        self._journal.close(CLOSE_TIMEOUT_S)
        self._claim.release()


def keep_journal(router: Router, config: Config) -> tuple[JournalPart, str]:
    """Restore what is stored and keep the journal from now on; returns what the start's greeting says about it.

    Raises CannotStart. A directory that cannot be used is no reason not to start: it is said, loudly.
    """
    # An MQTT payload may be stored whose value is to be made, also where nobody speaks MQTT any more.
    from clasp_edge.devices.values import use_in_dataplane

    use_in_dataplane()
    claim = _Claim(config.data_dir)
    try:
        claim()
    except InUse as error:
        raise CannotStart(str(error)) from None
    except OSError as error:
        log.warning("the data directory %s cannot be locked: %s", config.data_dir, error.strerror)
    journal = Journal(router, config.journal, config.data_dir, claim)
    greeting = journal.open()
    if journal.mode != "volatile":
        replays = Replays(journal)
        router.handlers[MessageType.REPLAY] = replays.handle
        router.on_ended.append(replays.ended)
        router.trail.keep = journal.keep_entry
    else:
        journal.forget_notes()
    return JournalPart(journal, claim, router.loop), greeting
