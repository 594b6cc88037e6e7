"""Who this router is to others: an id that stays the same, and the epochs in which it numbers its writes.

The id is made once and kept in the data directory. Two boxes with copies of one directory have the same id; a hub tells
them apart by their instance and refuses the second one. Each start has a run id that no other start has, also where a
data directory was copied or an older one put back: what is said after that is never taken for what was said before.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from pathlib import Path

from clasp_edge.federation.shared.dedup import Route
from clasp_edge.federation.shared.run_ids import FIRST_RUN_ID, Runs
from clasp_edge.journal.cursor_names import NOT_A_RECORD
from clasp_edge.text_file import read_text

log = logging.getLogger("clasp_edge.federation")

FILE_NAME = "router-id"
MAX_CHARACTERS = 64

_ALL = NOT_A_RECORD - 1
"""The last number that there can be."""


class Identity:
    """`instance` is of this process. `logged` and `unlogged` are the routes of what is first written here.

    After a crash the journal gives numbers again that were told but not stored. So each of its runs has an epoch of its
    own: its id in `runs`, or, for what a version without run ids has logged, counted from `store`.
    """

    def __init__(
        self, data_dir: Path, wall_us: int, store: int, run: int, name: str = "", runs: Runs | None = None
    ) -> None:
        self._runs = runs.ids if runs is not None else {}
        self._ended = {runs.ids[run]: last for run, last in runs.ended.items() if run in runs.ids} if runs else {}
        self.router_id = router_id(data_dir, name)
        self.instance = wall_us
        self._store = store
        self.logged = self.route_of(run)
        # Two series of numbers must not share an epoch.
        self.unlogged = self.logged._replace(epoch=self.logged.epoch + 1)

    def route_of(self, run: int) -> Route:
        """The route of what was first written here in a run, and logged."""
        return Route(self.router_id, self._runs.get(run) or 2 * (self._store + run), 0)

    def heard_up_to(self, heard: Mapping[int, int]) -> int | None:
        """The place in our log up to which another router has heard what was first written here: its number of the
        latest run of ours that it knows. None: it knows none."""
        for run in sorted(self._runs, reverse=True):
            if self._runs[run] in heard:
                return heard[self._runs[run]]
        return None

    def same_id(self, instance: int) -> str:
        """What is wrong with a router that has our id. `instance`: its own."""
        if instance == self.instance:
            return f"the router id {self.router_id!r} is this router's own: the url leads back to itself"
        return (
            f"another router has the id of this one, {self.router_id!r}: federation.router_id is the same at both, or "
            "one has a copy of the other one's data directory"
        )

    def has_run(self, epoch: int) -> bool:
        """Whether this is the id of a run of this router that its log knows."""
        return epoch in self._runs.values()

    def own_up_to(self, origin: str, epoch: int) -> int:
        """The last number of what other routers pass on and was first written here: by this router, and not by a copy
        of it, nor by what it was before its data directory was put back. What an earlier run had told and not stored
        when it was killed is not here any more either. 0: nothing."""
        known = self._runs.values()
        if origin != self.router_id or (known and epoch >= FIRST_RUN_ID and epoch & ~1 not in known):
            return 0
        return self._ended.get(epoch, _ALL)


def router_id(data_dir: Path, name: str = "") -> str:
    """The id of the router that has this data directory; `name` is `federation.router_id`, where it is set."""
    return name or _kept(data_dir / FILE_NAME)


def _kept(path: Path) -> str:
    """The id in the file, which is made if it is not there. Without a place to keep it, one for this process."""
    if found := kept_id(path):
        return found
    made = f"edge-{uuid.uuid4().hex[:12]}"
    keep_id(path, made)
    return made


def kept_id(path: Path) -> str:
    """The router id in the file; "" if there is none."""
    try:
        text = read_text(path).strip()
        if text and len(text) <= MAX_CHARACTERS and text.isascii() and text.isprintable() and "/" not in text:
            return text
        log.warning("%s holds no router id: a new one is made", path)
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        log.warning("the router's id cannot be read from %s: %s", path, error)
    return ""


def keep_id(path: Path, text: str) -> None:
    """Write the id into the file, if that can be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".new")
        temporary.write_text(text + "\n")
        temporary.replace(path)
    except OSError as error:
        log.warning("the router's id cannot be kept in %s: %s", path, error)
