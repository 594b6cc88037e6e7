"""REPLAY (router.md 8.4): the log's records as plain SET and PUBLISH frames, as fast as the client reads them.

A replay goes through the log piece by piece: the reader's thread fetches one, the session is given it as a job, and the
next one is fetched when the client has taken it. So a replay of any length costs one piece of memory, which is charged
to the client, and so do all replays of one client, which come one after the other; no read transaction stays open while
a client dawdles, and nobody waits for the disk but the replay itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from clasp_edge.dataplane.account import Charge
from clasp_edge.dataplane.trie import subscription_bytes
from clasp_edge.journal.format import read_header
from clasp_edge.journal.journal import Journal
from clasp_edge.journal.log_scan import select_records
from clasp_edge.journal.queries import Piece
from clasp_edge.journal.summary import Question
from clasp_edge.router.session import Envelope, Session
from clasp_edge.wire import Ack, ErrorCode, Qos, Replay, encode, types_to_mask
from clasp_edge.wire.pattern import Pattern, PatternError

if TYPE_CHECKING:
    from collections.abc import Sequence

PIECE_BYTES = 1 << 17
MOST_AT_ONCE = 8
"""Replays that one client can have under way."""

RUN_BYTES = 8192
"""What a replay takes beside its pattern, while it waits; what it remembers later is within the charge of a piece."""

UNLIMITED = (1 << 63) - 1
ALL_TYPES = 0x1F


class Replays:
    """Handles REPLAY for one journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._under_way: dict[Session, int] = {}
        self._waiting: dict[Session, deque[_Run]] = {}
        """Of the sessions that have one under way, those that come after it: one at a time has a piece in memory."""

    def handle(self, session: Session, message: Replay, envelope: Envelope) -> None:
        """Start a replay, or say why not."""
        shown = message.pattern[:256]
        try:
            pattern = Pattern(message.pattern.encode())
        except PatternError as error:
            session.error(ErrorCode.PATTERN_ERROR, str(error), shown)
            return
        if session.scopes is not None and not session.scopes.covers("read", pattern):
            session.error(ErrorCode.FORBIDDEN, "Insufficient scope for replay", shown)
            return
        if self._under_way.get(session, 0) >= MOST_AT_ONCE:
            text = f"Replay limit reached (max {MOST_AT_ONCE} at once)"
            session.error(ErrorCode.RATE_LIMITED, text, shown)
            return
        keeps = RUN_BYTES + subscription_bytes(pattern)
        if not session.holding.charge(keeps, Charge.SESSIONS):
            session.error(ErrorCode.RATE_LIMITED, f"Not replayed: {session.router.memory_full()}", shown)
            return
        self._under_way[session] = self._under_way.get(session, 0) + 1
        run = _Run(self, self._journal, session, pattern, message, envelope.qos != Qos.FIRE, keeps)
        waiting = self._waiting.get(session)
        if waiting is None:
            self._waiting[session] = deque()
            run.step()
        else:
            waiting.append(run)

    def ended(self, session: Session) -> None:
        """A client has gone, and what it was charged with it."""
        self._under_way.pop(session, None)
        self._waiting.pop(session, None)

    def finished(self, session: Session, kept: int) -> None:
        """One is through: the session's next one begins."""
        if session not in self._under_way:
            return
        session.holding.release(kept, Charge.SESSIONS)
        self._under_way[session] -= 1
        if not self._under_way[session]:
            del self._under_way[session]
        waiting = self._waiting.get(session)
        if waiting:
            run = waiting.popleft()
            session.router.loop.call_soon(run.step)
        else:
            self._waiting.pop(session, None)


class _Run:
    """One replay."""

    def __init__(
        self, replays: Replays, journal: Journal, session: Session, pattern: Pattern, message: Replay, confirm: bool,
        keeps: int,
    ) -> None:  # fmt: skip
        self._replays = replays
        self._journal = journal
        self._session = session
        self._pattern = pattern
        self._confirm = confirm
        self._keeps = keeps
        self._from_us = message.from_ or 0
        self._to_us = message.to if message.to is not None else UNLIMITED
        self._left = message.limit if message.limit is not None else UNLIMITED
        self._mask = types_to_mask(message.types) & ALL_TYPES or ALL_TYPES
        buffer = journal.journal_buffer
        # What is logged from now on the client can have as a subscriber.
        self._last = buffer.log.number - 1 if buffer is not None else 0
        self._next = self._begun = 0
        self._newest = 0
        self._known: dict[bytes | None, int] = {}
        self._known_by = session.scopes
        self._question = Question(pattern, self._from_us, self._to_us, self._mask)

    def step(self) -> None:
        """Fetch the next piece, from memory or from the store."""
        buffer = self._journal.journal_buffer
        self._begun = self._next
        if buffer is None or self._session.closing:
            self._end()
        elif self._left <= 0 or self._next > self._last:
            self._finish()
        elif self._next >= buffer.tail_begins:
            blocks = buffer.tail(self._next, PIECE_BYTES)
            self._next = read_header(blocks[-1]).last + 1 if blocks else self._last + 1
            self._send(blocks)
        else:
            asked = self._next, min(self._last, buffer.tail_begins - 1), self._from_us, self._to_us, self._mask
            self._journal.reader.call(lambda: self._journal.read_log(*asked, PIECE_BYTES, self._question), self._read)

    def _read(self, result: object) -> None:
        if self._session.closing:
            self._end()
        elif isinstance(result, Exception):
            text = f"Journal query failed: {result}"
            self._session.error(ErrorCode.INTERNAL_ERROR, text, self._pattern.text.decode()[:256])
            self._end()
        else:
            assert isinstance(result, Piece)
            self._journal.note_damage(result)
            self._next = result.next
            self._send(result.blocks)

    def _send(self, blocks: Sequence[bytes]) -> None:
        if blocks:
            self._session.router.core.begin_pass()
            fits = self._session.start_job(self._images(blocks), 3 * sum(map(len, blocks)))
            self._session.router.core.end_pass()
            if not fits:
                text = f"Replay ended: {self._session.router.memory_full()}"
                self._session.error(ErrorCode.RATE_LIMITED, text, self._pattern.text.decode()[:256])
                self._end()
        else:
            self.step()

    def _images(self, blocks: Sequence[bytes]) -> Iterator[bytes]:
        session = self._session
        begun = self._begun
        faults: dict[int, str] = {}
        for block in blocks:
            resume = [0, 0]
            while True:
                if session.scopes is not self._known_by:
                    # It may read something else now: what it was answered before says nothing.
                    self._known_by = session.scopes
                    self._known.clear()
                frames, newest = select_records(
                    block, self._pattern, session.scopes, self._known,
                    begun, self._last, self._from_us, self._to_us, self._mask, self._left, faults, resume,
                )  # fmt: skip
                self._left -= len(frames)
                self._newest = newest or self._newest
                for at in range(0, len(frames), 32):
                    yield b"".join(map(session.image, frames[at : at + 32]))
                if not frames:
                    yield b""
                if not resume[0]:
                    break
        self._journal.note_faults(faults)
        # Not from here: the session is in the middle of taking what this yields.
        session.router.loop.call_soon(self.step)

    def _finish(self) -> None:
        session = self._session
        self._end()
        if self._confirm:
            ack = encode(Ack(address=self._pattern.text.decode(), revision=self._newest))
            session.router.core.begin_pass()
            session.start_job(iter((session.image(ack),)))
            session.router.core.end_pass()

    def _end(self) -> None:
        self._replays.finished(self._session, self._keeps)
