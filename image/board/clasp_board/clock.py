"""The clock of a box without one: never earlier than what is known to have been.

A Raspberry Pi begins at the last time that systemd-timesyncd has stored. On a new card, or one that was prepared since,
the files on it tell more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from clasp_board.places import Places

YEAR_S = 366 * 24 * 3600
TRUSTED_S = 15 * YEAR_S
"""After the system was built: a date beyond that is the mistake of a laptop, and would be hard to get rid of."""


def set_clock(places: Places, now: Callable[[], float] = time.time, put: Callable[[float], None] | None = None) -> None:
    """Put the clock forward to the newest date that the card knows; never back. Raises OSError."""
    built = _built(places)
    dates = [date for date in _dates(places) if built <= date <= built + TRUSTED_S]
    newest = max([built, *dates])
    if newest > now() + 1:
        (put or _put)(newest)
        print(f"the clock was behind the newest date on the card, and is put forward to it: {time.ctime(newest)}")


def _put(wanted_s: float) -> None:
    time.clock_settime(time.CLOCK_REALTIME, wanted_s)


def _built(places: Places) -> float:
    try:
        return float(json.loads(places.release.read_text())["built"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _dates(places: Places) -> Iterator[float]:
    for directory in (
        places.firmware,
        places.data,
        places.accepted,
        places.data / "clasp-edge",
        places.data / "timesync",
    ):
        yield from _dates_in(directory)


def _dates_in(directory: Path) -> Iterator[float]:
    try:
        paths = list(directory.iterdir())
    except OSError:
        return
    for path in paths:
        try:
            yield path.stat().st_mtime
        except OSError:
            continue
