"""How long ago something was stored: by the wall clock, where it is known not to have been set since.

That is so where something (NTP, a battery clock) held it right at both ends; and on a board without any of that as long
as the machine has not been started again and its wall clock has kept its distance from the time since the boot.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

from clasp_edge.dataplane.journal_buffer import clock_synchronised
from clasp_edge.journal.cursors import Logged

log = logging.getLogger("clasp_edge.journal")

FILE = "boot"

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

SET_US = 1_000_000
"""A wall clock that has moved by more was set."""


class Ages:
    """Of one data directory: `look` before anything is restored, `began` when the number of this start is known."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._opened_s = time.monotonic()
        self._boot = ""
        self._ahead_us = _ahead_us()
        self._run = 0
        self.first_run = 0
        """The first start since when the wall clock was not set; 0 where that is not known of any before this one."""

    def look(self) -> None:
        """Find out what is known of the starts before."""
        try:
            self._boot = BOOT_ID.read_text().strip()
            found = json.loads(self._path.read_text())
            if self._boot and found["boot"] == self._boot and abs(found["ahead_us"] - self._ahead_us) < SET_US:
                self.first_run = int(found["run"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # the first start in this boot, as far as is known

    def began(self, run: int) -> None:
        """This start is number `run`."""
        self._run = run
        if not 0 < self.first_run <= run:
            self.first_run = run
        said = {"boot": self._boot, "ahead_us": self._ahead_us, "run": self.first_run}
        try:
            temporary = self._path.with_suffix(".new")
            temporary.write_text(json.dumps(said))
            temporary.replace(self._path)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror or error)

    def waited_s(self, record: Logged, now_us: int) -> int:
        """How much of its time a message in the log has used up at `now_us` of the wall clock; where that is not known,
        at least the time since the journal was opened."""
        known = (0 < self.first_run <= record.run and abs(_ahead_us() - self._ahead_us) < SET_US) or (
            record.synchronised and clock_synchronised()
        )
        return max(0, now_us - record.wall_us) // 1_000_000 if known else int(time.monotonic() - self._opened_s)


def _ahead_us() -> int:
    """What the wall clock is ahead of the time since the boot."""
    return (time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) // 1000
