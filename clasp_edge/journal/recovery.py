"""What is done with a store at the start: look at it, restore from it, put it aside if it cannot be used.

Whatever is wrong with it, the router starts: with what could be read, and with a new store where the old one is no use.
Nothing that might be wanted is written to again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path

from clasp_edge.dataplane import Plane
from clasp_edge.dataplane.journal_buffer import clock_synchronised
from clasp_edge.journal.ages import Ages
from clasp_edge.journal.errors import Damaged, TooNew, Unavailable
from clasp_edge.journal.format import BadBlock
from clasp_edge.journal.probe import Found, probe
from clasp_edge.journal.restore import finish_restore, refill_history, restore_params
from clasp_edge.journal.salvage import salvage_state
from clasp_edge.journal.store import DATA_FILE, DIRECTORY_MODE, Store

log = logging.getLogger("clasp_edge.journal")

STARTS_FILE = "starts"

SUSPICIOUS_STARTS = 3
"""Starts in a row that did not last: then the log is read before the store is trusted."""

LONGEST_LOOK_S = 10.0


class Recovery:
    """`run()` once; afterwards `found` is what the store holds, `problem` what is wrong ("" if nothing), `dropped` how
    many params were more than the configuration allows. The store is open unless that cannot be now."""

    def __init__(self, plane: Plane, store: Store) -> None:
        self.found = Found()
        self.problem = ""
        self.dropped = 0
        self._plane = plane
        self._store = store
        self._directory = store.directory
        self.ages = Ages(store.directory)

    def run(self) -> None:
        """Restore, and open the store."""
        try:
            self._directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            if not os.access(self._directory, os.W_OK | os.X_OK):
                raise Unavailable(f"{self._directory} cannot be written by this user")
            self.ages.look()
            suspicious = self._count_start() >= SUSPICIOUS_STARTS
            self._store.reserve_lock()
            self._restore(thorough_s=LONGEST_LOOK_S if suspicious else 0, readonly=False)
            self._open()
        except Damaged as error:
            self._replace(error)
        except Unavailable as error:
            self._unavailable(str(error))
        except OSError as error:
            self._unavailable(error.strerror or str(error))
        self._store.run = self.found.run + 1
        self.ages.began(self.found.run + 1)
        self.dropped = finish_restore(self._plane)
        if self.dropped:
            log.warning("%d stored params were dropped, oldest first: more than state.max_... allow", self.dropped)

    def _open(self) -> None:
        self._store.run = self.found.run + 1
        self._store.open()

    def _restore(self, *, thorough_s: float, readonly: bool) -> None:
        if not (self._directory / DATA_FILE).exists():
            return
        writers: dict[bytes, int] = {}
        clock_is_right = clock_synchronised()
        refused = 0

        def on_state(block: bytes) -> None:
            nonlocal refused
            try:
                refused += restore_params(self._plane, block, writers, clock_is_right, self.ages.first_run)
            except ValueError as error:
                raise Damaged(str(error)) from None

        self.found = probe(
            self._directory, on_state, lambda block: refill_history(self._plane, block),
            tail_bytes=self._plane.ring.size, thorough_s=thorough_s, readonly=readonly,
        )  # fmt: skip
        if refused:
            log.warning("%d stored params are not valid any more and were left out", refused)

    def _unavailable(self, problem: str) -> None:
        """The directory cannot be written: what is in it may be readable still."""
        self.problem = problem
        if self.found != Found():
            return  # it has been read already
        try:
            self._restore(thorough_s=0, readonly=True)
        except (Damaged, Unavailable, OSError) as error:
            log.warning("the stored params could not be read either: %s", error)

    def _replace(self, error: Damaged) -> None:
        """Put a store that cannot be used aside and start with a new one, with what can be saved of the params."""
        too_new = isinstance(error, TooNew)
        aside = move_aside(self._store, "newer" if too_new else "damaged")
        self.problem = f"the store was not usable ({error}) and " + (
            f"is now {aside}" if aside is not None else "could not be moved aside: it is left alone"
        )
        if not too_new:
            blocks = self._salvage((aside or self._directory) / DATA_FILE)
            self.problem += f"; {self._plane.params} params were saved from {blocks} sound blocks of it"
        self.found = Found()
        if aside is not None:
            try:
                self._open()
            except (Damaged, Unavailable) as second:
                self.problem += f"; a new one could not be made: {second}"
        log.error("%s", self.problem)

    def _salvage(self, path: Path) -> int:
        writers: dict[bytes, int] = {}
        clock_is_right = clock_synchronised()
        count = 0
        try:
            for block in salvage_state(path):
                try:
                    restore_params(self._plane, block, writers, clock_is_right)
                    count += 1
                except ValueError as error:
                    log.warning("a block could not be used: %s", error)
        except (OSError, BadBlock) as error:
            log.warning("%s could not be searched: %s", path, error)
        return count

    def _count_start(self) -> int:
        """How many starts before this one did not last."""
        path = self._directory / STARTS_FILE
        try:
            count = int(path.read_text())
        except (OSError, ValueError):
            count = 0
        try:
            path.write_text(f"{count + 1}\n")
        except OSError as error:
            raise Unavailable(error.strerror or str(error)) from None
        return count

    def settled(self) -> None:
        """This start has lasted."""
        with contextlib.suppress(OSError):  # then the next start is more careful than it needs to be
            (self._directory / STARTS_FILE).unlink(missing_ok=True)


def move_aside(store: Store, why: str) -> Path | None:
    """Give the store's directory a name that says why and when. Where that cannot be done, the store is not touched any
    more, and None returned."""
    stamp = time.strftime("%Y-%m-%dT%H-%M-%S")
    directory = store.directory
    for attempt in range(100):
        target = directory.with_name(f"{directory.name}.{why}-{stamp}" + (f".{attempt}" if attempt else ""))
        if target.exists():
            continue
        try:
            directory.rename(target)
        except OSError as error:
            store.give_up(f"{directory} holds a store that is {why} and cannot be moved aside: {error.strerror}")
            log.error("%s cannot be moved aside: %s", directory, error.strerror)
            return None
        return target
    return None
