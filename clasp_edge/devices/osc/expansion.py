"""Messages whose address has wildcards: which params they are meant for, found and written in parts.

A sender proves nothing and may have any number of addresses, so that there is one queue for all of them, worked off in
order and in turns with all other work in parts. A message that is short work is done at once; what else its sender says
waits until it is, so that the order of what it says holds.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clasp_edge.dataplane import Verdict
from clasp_edge.dataplane.browse import addresses_matching
from clasp_edge.devices.osc import complaints
from clasp_edge.devices.osc.complaints import Complaints
from clasp_edge.devices.osc.pattern import OscPattern
from clasp_edge.devices.osc.receiver import OscReceiver
from clasp_edge.devices.osc.source import Source
from clasp_edge.wire.pattern import Pattern, PatternError, overlap

if TYPE_CHECKING:
    from clasp_edge.router.router import Router

log = logging.getLogger(__name__)

MAX_MATCHES = 4096
"""Params that one message with wildcards may set."""

MAX_WAITING = 64
"""Messages of all senders together that wait for their turn; more are dropped and counted."""

PARAMS_PER_MESSAGE = 64
"""Looking at so many params for an address with wildcards counts as one message of the source's rate."""

_LOOKS_AT_ONCE = 512
_FOUND_AT_ONCE = 64
"""Between two looks at the clock: some 100 us."""

_WRITES_AT_ONCE = 16


@dataclass(slots=True)
class _Message:
    source: Source
    pattern: OscPattern
    superset: Pattern
    base: bytes
    shown: str
    has_arguments: bool
    value_type: int
    value: bytes
    tail: bytes | None


class Expansions:
    """`bad_packet(source, reason)` and `refused(source, address, verdict)` hear of messages that are not carried out;
    `too_fast(source)` of who has said more than its rate allows, `released(source)` when what a source said meanwhile
    may go on; `asked(source, osc_address, address)` answers a question, if it can."""

    def __init__(
        self,
        router: Router,
        intake: OscReceiver,
        noted: Complaints,
        bad_packet: Callable[[Source, str], None],
        refused: Callable[[Source, bytes, int], None],
        too_fast: Callable[[Source], None],
        released: Callable[[Source], None],
        asked: Callable[[Source, bytes, bytes], bool],
    ) -> None:
        self._plane = router.plane
        self._core = router.core
        self._intake = intake
        self._noted = noted
        self._bad_packet = bad_packet
        self._refused = refused
        self._too_fast = too_fast
        self._released = released
        self._asked = asked
        self._waiting: deque[_Message] = deque()
        self._running = False
        self.dropped = 0

    def add(
        self, source: Source, base: bytes, address: bytes, has_arguments: bool, value_type: int, value: bytes
    ) -> None:
        """A message to all params below `base` that `address` matches; called while it is under way."""
        try:
            pattern = OscPattern(address)
            superset = pattern.superset(base)
        except PatternError as error:
            self._bad_packet(source, str(error))
            return
        if not _may_write_some(source, superset):
            self._refused(source, base + address, Verdict.NO_SCOPE)
            return
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
            self._bad_packet(source, f"{MAX_WAITING} messages with wildcards are waiting, another one is dropped")
            return
        self._waiting.append(
            _Message(
                source, pattern, superset, base, address[:256].decode("utf-8", "replace"),
                has_arguments, value_type, value, source.spoken(),
            )
        )  # fmt: skip
        if not self._running:
            self._running = True
            steps = self._work_off()
            for _ in steps:
                if self._core.slice_over:
                    self._core.start_work(steps)
                    break
        if self._waiting:
            source.expands = True
            if source.overflow is None:
                source.overflow = OrderedDict()
                source.behind_wildcard = True

    def _work_off(self) -> Iterator[None]:
        try:
            while self._waiting:
                message = self._waiting[0]
                try:
                    yield from self._expand(message)
                except Exception:
                    log.exception("a message with wildcards could not be carried out")
                self._waiting.popleft()
                source = message.source
                if source.expands and not any(other.source is source for other in self._waiting):
                    source.expands = False
                    if source.tokens < 0:
                        self._too_fast(source)
                    self._released(source)
        finally:
            self._running = False

    def _expand(self, message: _Message) -> Iterator[None]:
        source, pattern = message.source, message.pattern
        # All of them are found before the first is written: a write may bring params or take them away.
        found: list[bytes] = []
        cursor = b""
        while not source.dropped:
            candidates, cursor = addresses_matching(
                self._plane, message.superset, cursor, _FOUND_AT_ONCE, _LOOKS_AT_ONCE
            )
            self._intake.charge(source, (_LOOKS_AT_ONCE if cursor else len(candidates)) / PARAMS_PER_MESSAGE)
            for candidate in candidates:
                if pattern.matches(candidate[len(message.base) :]):
                    found.append(candidate)
                yield
            if len(found) > MAX_MATCHES:
                self._bad_packet(source, f"a pattern that matches more than {MAX_MATCHES} params")
                return
            if not cursor:
                break
            yield
        if not found:
            self._noted.note(source, complaints.NO_MATCH, f"{message.shown} has wildcards and matches no param")
        self._intake.charge(source, len(found))
        for number, address in enumerate(found):
            if source.dropped:
                return
            if number % _WRITES_AT_ONCE == _WRITES_AT_ONCE - 1:
                yield
            if not message.has_arguments and source.asks and self._asked(source, address[len(message.base) :], address):
                continue
            self._intake.write(source, address, message.has_arguments, message.value_type, message.value, message.tail)


def _may_write_some(source: Source, superset: Pattern) -> bool:
    """Whether the source may write anything at all there: nobody else's question is worth any work."""
    scopes = source.scopes
    if scopes is None or not hasattr(scopes, "patterns"):
        return True
    return any(overlap(allowed, superset) for allowed in scopes.patterns("write"))
