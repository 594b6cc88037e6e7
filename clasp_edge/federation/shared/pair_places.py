"""How far the log of each router of a pair is at the other one, as the other one's journal has it.

A cursor here says what was acknowledged there. A data directory that was made anew since, or put back from a backup,
has less than that. So who tells its log says how far it was acknowledged (PAIR), who hears it keeps that beside the
records, and says it back at the next link (PEER): there the log is gone through again from where the other one ends.
Who has not heard what yet is lost with a data directory as well, where a router has only been at that hub: each says
how much of the other one's log all of its own have heard. Knows no links.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from clasp_edge.config.model import PAIR_UPLINK
from clasp_edge.federation.shared.identity import Identity
from clasp_edge.journal.cursor_names import BELOW, NOT_A_RECORD, PEER, THERE, UPLINK
from clasp_edge.journal.followed_log import Log

log = logging.getLogger("clasp_edge.federation")

LOG, RUN = "log", "run"
"""In PAIR: the number in the teller's log up to which the other one has everything, and the id of the teller's run that
says so. In PEER: what was said last, as the journal has kept it; both 0 where it has nothing."""

ALL, ALL_OF = "all", "all_of"
"""In PAIR: the number in the other one's log up to which all routers at the teller have heard everything, and the id of
the other one's run that has given it."""


def says_place(told: Mapping[str, int]) -> bool:
    """Whether the other one's PEER says what it has; older versions do not. Then it is told again also what was first
    said there: it knows its own writes, unless it has lost them."""
    return LOG in told


def is_place_of(name: str, other: str) -> bool:
    """Whether a cursor is the place of the other router of the pair, whichever of the two has dialled."""
    at_id = name.partition(":")[2].partition(":")[2]
    return name == UPLINK + PAIR_UPLINK or (name.startswith(PEER) and at_id == other)


class PairPlaces:
    """Of one router. `started_at`: where its log ended when this run began."""

    def __init__(self, journal: Log, identity: Identity, started_at: int) -> None:
        self._journal = journal
        self._identity = identity
        self._started_at = started_at
        self._to_be_heard: tuple[int, dict[str, int]] | None = None
        """Where our log ended when the other one's was here up to some number, and what is said when it is heard."""
        self._said_heard: dict[str, int] = {}

    # ---- of the other one's log ----

    def heard(self, told: Mapping[str, int]) -> None:
        """PAIR: so much of the other one's log is stored here."""
        run, number = told.get(RUN, 0), told.get(LOG, 0)
        if not run or not 0 <= number < NOT_A_RECORD:
            return
        name = f"{THERE}{run:x}"
        for other in self._journal.cursors():
            if other.startswith(THERE) and other != name:
                self._journal.forget_cursor(other)
        self._journal.set_cursor(name, number | NOT_A_RECORD)
        heard = {ALL: number, ALL_OF: run}
        if self._to_be_heard is None and heard != self._said_heard:  # or two idle hubs would answer each other for ever
            self._to_be_heard = self._journal.last_sequence, heard

    def all_heard(self, other: str) -> dict[str, int]:
        """For PAIR: so much of the other one's log all routers here have heard, and those that are away; nothing if
        that is no more than before. `other`: its id."""
        if self._to_be_heard is None:
            return {}
        end, said = self._to_be_heard
        if min(self._awaited(other), default=end) < end:
            return {}
        self._to_be_heard, self._said_heard = None, said
        return said

    def kept(self) -> dict[str, int]:
        """For PEER: what is here of the other one's log."""
        for name, place in self._journal.cursors().items():
            if name.startswith(THERE):
                return {LOG: place & (NOT_A_RECORD - 1), RUN: int(name.removeprefix(THERE), 16)}
        return {LOG: 0, RUN: 0}

    # ---- of our own ----

    def said(self, number: int) -> dict[str, int]:
        """For PAIR: the other one has our log up to this number."""
        return {LOG: number, RUN: self._identity.logged.epoch}

    def heard_below(self, told: Mapping[str, int], other: str) -> None:
        """PAIR: so much of our log all routers at the other one have heard."""
        number = told.get(ALL, 0)
        if told.get(ALL_OF, 0) == self._identity.logged.epoch and 0 <= number <= self._journal.last_sequence:
            self._journal.set_cursor(BELOW + other, number | NOT_A_RECORD)

    def _awaited(self, other: str) -> list[int]:
        """Where routers are in our log that have a place there; not the other one of the pair."""
        return [
            place for name, place in self._journal.cursors().items()
            if name.startswith((PEER, UPLINK)) and not is_place_of(name, other)
        ]  # fmt: skip

    def begins_at(self, told: Mapping[str, int], place: str, other: str) -> int:
        """The number in our log up to which the other one has everything, by what its PEER says. `place`: the name of
        its cursor."""
        cursors = self._journal.cursors()
        confirmed = cursors.get(place, self._journal.last_sequence)
        number, run = told[LOG], told.get(RUN, 0)
        if run == self._identity.logged.epoch:
            there = number
        elif self._identity.has_run(run):
            # What that run logged last may not be here any more, and other records have its numbers.
            there = min(number, self._started_at)
        else:
            # Its journal is a new one, or ours: what routers that are away have not heard yet it may have to tell them.
            heard = [cursors[BELOW + other] & (NOT_A_RECORD - 1)] if BELOW + other in cursors else []
            there = min([confirmed, *self._awaited(other), *heard])
        if there < confirmed:
            log.info("pair: %s has our log up to record %d and is told again what follows", other[:64], there)
        return min(there, confirmed)
