"""The time that tokens and certificates go by, on boards without a battery for their clock.

Such a board starts in 1970, or where it was when it was switched off. `last-time` in the data directory has the last
time known. As long as the wall clock shows an earlier one and nothing (NTP, a battery clock, a person) has set it, that
time and what has passed since the start count: a token that had expired when the box was switched off stays expired,
and one that may have expired meanwhile is taken until the clock is set. Such a time is never later than it really is,
so it is written down too: what has passed in one process counts in the next.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from clasp_edge.clock import Clock
from clasp_edge.security.kept_file import KeptFileError, write_text

log = logging.getLogger("clasp_edge.security")

NAME = "last-time"

CLOCK_IS_SET_S = 1_767_225_600
"""2026-01-01: a clock that shows an earlier time was not set."""

LATEST_S = 253_402_300_799
"""The end of 9999: what is later is no time that somebody meant."""

KEPT_EVERY_S = 3600.0
"""How often the time is written to the card: what a power cut makes it go back by at most."""

SLACK_S = 60.0
"""A clock that is behind the last time known by less was corrected, not lost."""

SET_S = 1.0
"""A wall clock that moves by more against the time since the boot was set by somebody."""

TRIES = 3
"""Readings of both clocks at the start, of which one should not be held up in between."""


def kernel_believes_clock() -> bool:
    """Whether something (NTP, a battery clock's driver) has set the wall clock right."""
    # Compiled, and of no use to a command that only prints.
    from clasp_edge.dataplane.journal_buffer import clock_synchronised

    return clock_synchronised()


class KnownClock(Clock):
    """The clock of a box with this data directory. `look` now and then; `keep` at the end."""

    def __init__(self, directory: Path, synchronised: Callable[[], bool] = kernel_believes_clock) -> None:
        self._path = directory / NAME
        self._synchronised = synchronised
        self._started_s = self.since_boot_s()
        self._ahead_s: float | None = None
        for _ in range(TRIES):
            if self._ahead_s is None:
                self._ahead_s = self._ahead()
        self._was_set = False
        self._told = False
        self._fault = ""
        self._kept_s: float | None = None
        self._taken = 0
        self._written = 0
        self._writing = threading.Lock()
        self.last_known_s = self._read()
        """Unix time; CLOCK_IS_SET_S where none was kept."""
        self._up_before_s = self.last_known_s

    def since_boot_s(self) -> float:
        """Seconds, those of a sleeping machine included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def believed_s(self) -> float:
        wall_s = self.wall_s()
        if wall_s >= self.last_known_s - SLACK_S or not self._doubts():
            return wall_s
        return self.last_known_s + self.since_boot_s() - self._started_s

    @property
    def up_before_s(self) -> float:
        return self._up_before_s

    @property
    def doubted(self) -> bool:
        return self.wall_s() < self.last_known_s - SLACK_S and self._doubts()

    @property
    def unknown(self) -> bool:
        """Whether the clock was never set, as far as is known."""
        return self.last_known_s <= CLOCK_IS_SET_S and self.doubted

    def _doubts(self) -> bool:
        ahead_s = self._ahead()
        if ahead_s is not None:
            if self._ahead_s is not None and abs(ahead_s - self._ahead_s) > SET_S:
                self._was_set = True
            self._ahead_s = ahead_s
        return not self._was_set and not self._synchronised()

    def _ahead(self) -> float | None:
        """How far the wall clock is ahead of the time since the boot; None if the process was held up between the
        readings, which looks as if somebody had set the clock."""
        before_s = self.since_boot_s()
        wall_s = self.wall_s()
        after_s = self.since_boot_s()
        return None if after_s - before_s > SET_S / 2 else wall_s - after_s

    def fault(self) -> str | None:
        """What to tell people while the clock is not believed."""
        if not self.doubted:
            return None
        shown = f"the clock is not set: it shows {text_of(self.wall_s())}"
        if self.last_known_s <= CLOCK_IS_SET_S:
            return f"{shown}, and no time is known: expiry counts from {text_of(self.last_known_s)} until it is set"
        return (
            f"{shown}, and {text_of(self.last_known_s)} was the last time known ({self._path}): tokens and "
            "certificates go by that and the time since the start until the clock is set"
        )

    def look(self) -> None:
        """Notice that the clock was set, and have the time written down if it is time for that. Waits for no card: a
        thread does."""
        fault = self.fault()
        now_s = self.believed_s()
        due = self._kept_s is None or not 0 <= now_s - self._kept_s < KEPT_EVERY_S
        if fault is not None:
            if not self._told:
                log.warning("%s", fault)
            self._told = True
        elif self._told:
            self._told = False
            due = True
            log.warning("the clock was set to %s: tokens and certificates go by it again", text_of(now_s))
        if due and (text := self._take()):
            threading.Thread(target=self._write, args=(text, self._taken), name=NAME, daemon=True).start()

    def keep(self) -> None:
        """Write the time down, and return when it is on the card."""
        if text := self._take():
            self._write(text, self._taken)

    def _take(self) -> str:
        """What is to be written: the time as far as it is known. Empty where none is."""
        if self.unknown:
            return ""
        now_s = self._kept_s = self.believed_s()
        # Not below what a clock that was never set shows: that would be no knowledge.
        if not CLOCK_IS_SET_S < now_s < LATEST_S:
            return ""
        self.last_known_s, self._started_s = now_s, self.since_boot_s()
        self._taken += 1
        return text_of(now_s) + "\n"

    def _write(self, text: str, number: int) -> None:
        """Put it on the card, unless something newer is there already."""
        with self._writing:
            if number < self._written:
                return
            self._written = number
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_text(self._path, text)
            except (KeptFileError, OSError) as error:
                fault = str(error)
                if fault != self._fault:
                    log.info("the time is not kept: %s", fault)
                self._fault = fault
                return
            self._fault = ""

    def _read(self) -> float:
        try:
            with self._path.open(encoding="ascii") as file:
                found = datetime.fromisoformat(file.read(64).strip()).timestamp()
        except (FileNotFoundError, NotADirectoryError):
            return CLOCK_IS_SET_S
        except (OSError, ValueError, OverflowError) as error:
            log.warning("%s: no time is known from it: %s", self._path, error)
            return CLOCK_IS_SET_S
        return max(found, CLOCK_IS_SET_S)


def text_of(unix_s: float) -> str:
    """A time as people and `datetime.fromisoformat` read it."""
    return datetime.fromtimestamp(int(unix_s), UTC).isoformat(" ").replace("+00:00", "Z")
