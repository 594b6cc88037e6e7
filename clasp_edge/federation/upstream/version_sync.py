"""Comparing state with a hub that knows versions: digests when the link has come up, and now and then while it is.

Who is right is decided by the versions alone (dataplane/state.pxd), but for one rule: what a box owns stands against
what others wrote while the link was down. Knows nothing of the handshake or of live writes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from clasp_edge.federation.shared.extensions import BUCKETS, digest_frame
from clasp_edge.federation.shared.state_pace import PIECE_BYTES, StatePace
from clasp_edge.federation.shared.unpack import set_parts
from clasp_edge.federation.shared.versions import over, read_version
from clasp_edge.federation.shared.waiting_frames import VERSION_BYTES
from clasp_edge.wire import Ping, encode

if TYPE_CHECKING:
    from clasp_edge.federation.upstream.hub_session import HubSession

ANSWER_TIMEOUT_S = 10.0
"""A hub that was sent a digest and has neither answered nor sent anything of its state for so long will not."""

COMPARE_S = 3.0
"""Between two looks at the roots: a difference is found and mended within twice that."""

LONGEST_PAUSE_S = 60.0
"""Where the same much differs after each mending, as with a token that may not write it."""

MUCH = 1000
"""Params sent in one mending that make the next one wait longer."""

FRUITLESS = 3
"""Mendings in a row after which the digest is counted anew: it may be the digest that is wrong."""

MOST_HEARD = 200_000
"""Params of the hub's that need not be told it, remembered by their hashes; of what is beyond that it is told again."""

COUNTED_AT_ONCE = 4096
SCANNED_AT_ONCE = 8192

PING = encode(Ping())


class VersionSync:
    """Of one connection."""

    def __init__(self, session: HubSession) -> None:
        self.active = True
        """Not settled yet: the states are being compared for the first time on this link."""
        self._session = session
        self._outward = session.owner.sender
        self._agreement = self._outward.agreement
        self.comparing = False
        """A digest was sent and not all of what differs has been told."""
        self._progress = 0
        self._heard: set[int] = set()
        self._job: Iterator[int] | None = None
        self._pace = StatePace()
        self._pause_s = COMPARE_S
        self._differed = 0
        self._is_equal = False

    def begin(self) -> None:
        """Count what the link carries, then compare."""
        self._outward.begin_digest()
        self._count()

    def _count(self) -> None:
        if self._outward.count_on(COUNTED_AT_ONCE):
            self.compare()
        else:
            self._session.timers.start("count", 0.0, self._count)

    def end(self) -> None:
        """The link is gone."""
        self.active = False
        self._job = None
        self._heard = set()

    def compare(self) -> None:
        """Send all of the digest; the hub answers with what differs."""
        if self.comparing:
            return
        self.comparing = True
        self._is_equal = False
        self._agreement.begin()
        self._session.timers.cancel("roots")
        self._session.link.send([digest_frame(self._outward.root, self._outward.digest)])
        self._session.timers.start("digest", ANSWER_TIMEOUT_S, self._waited)

    def _waited(self) -> None:
        if self._progress:
            self._progress = 0
            self._session.timers.start("digest", ANSWER_TIMEOUT_S, self._waited)
        else:
            self._session.link.abort(f"the hub was sent a digest and has not answered for {ANSWER_TIMEOUT_S:g} s")

    def overrules(self, payload: bytes) -> bool:
        """Whether a SET from before the states were settled is not to be merged: somebody has written what we own while
        the link was down, and it gets ours instead."""
        address, value_type, value, _, _ = set_parts(payload)
        if not self._session.owner.owned(address):
            return False
        ours = self._outward.version(address)
        rank, hlc = struct.unpack(">QQ", payload[-VERSION_BYTES:])
        theirs = read_version(hlc, rank)
        if ours is None or theirs <= read_version(*ours):
            return False
        held = self._outward.held(address)
        if held is None if hlc & 1 else held is not None and held[:2] == (value_type, value):
            return False  # the same, and its version may as well be theirs
        if over(read_version(*ours)) == theirs:
            return False  # its own time was over
        self._outward.overrule(address, hlc, rank, True)
        return True

    def note(self, address: bytes, hlc: int = 0) -> None:
        """The hub has told a param, and we have the same now. `hlc`: and we had not, though that is its version."""
        self._progress = 1
        if len(self._heard) < MOST_HEARD:
            self._heard.add(hash(address))
        if hlc:
            self._agreement.found(address, hlc, self._outward.plane.now_hlc)

    def mend(self, buckets: Mapping[int, int]) -> None:
        """MEND: the hub has sent what it has in these; now what we have."""
        if not self.comparing or self._job is not None:
            return
        self._session.timers.cancel("digest")
        self._differed = self._differed + 1 if buckets else 0
        self._agreement.mended += len(buckets)
        self._job = self._tell(buckets)
        self._pace = StatePace()
        self._step()

    def answered(self) -> None:
        """PONG: the hub has taken a piece in."""
        if self._pace.answered(self._session.owner.monotonic_s()) and self._job is not None:
            self._session.timers.start("step", 0.0, self._step)

    def _tell(self, buckets: Mapping[int, int]) -> Iterator[int]:
        """Yields the bytes of each piece."""
        sent = 0
        if buckets:
            wanted = bytearray(BUCKETS)
            for bucket in buckets:
                wanted[bucket] = 1
            cursor = 0
            while True:
                found, cursor = self._outward.in_buckets(bytes(wanted), cursor, PIECE_BYTES, SCANNED_AT_ONCE)
                told = [(address, frame) for address, frame in found if hash(address) not in self._heard]
                sent += len(told)
                if told:
                    self._outward.push_all(told)
                    now_hlc = self._outward.plane.now_hlc
                    for address, _ in told:
                        version = self._outward.version(address)
                        if version is not None:
                            self._agreement.found(address, version[0], now_hlc)
                yield sum(len(frame) for _, frame in told)
                if not cursor:
                    break
        cursor = 0
        while self.active:
            # The hub has forgotten who has what locked here; and more so one that was started anew.
            found, cursor = self._outward.locked(cursor, SCANNED_AT_ONCE)
            if found:
                self._outward.push_all(found)
            yield sum(len(frame) for _, frame in found)
            if not cursor:
                break
        self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2) if sent > MUCH and not self.active else COMPARE_S
        self._heard = set()

    def _step(self) -> None:
        if self._job is None:
            return
        now_s = self._session.owner.monotonic_s()
        has_room = self._pace.has_room(now_s)
        writable = self._session.link.writable
        try:
            if writable and has_room:
                size = next(self._job)
                if size:
                    self._session.link.send([PING])
                    self._pace.sent(size, now_s)
        except StopIteration:
            self._job = None
            self.comparing = False
            self._progress = 0
            are_others = self._agreement.compared()
            if self.active:
                self.active = False
                self._agreement.equal()  # what has changed while the link was down is no news
                self._session.settled()
                self._outward.ask_word()
            elif are_others:
                self._session.owner.differed(self._agreement.names, self._agreement.differing)
            if self._differed >= FRUITLESS:
                self._differed = 0
                self._outward.begin_digest()
            self._session.timers.start("roots", self._pause_s, self._look)
            return
        if has_room:
            self._session.timers.start("step", 0.0 if writable else 0.01, self._step)
        else:
            self._session.timers.start("step", self._pace.wait_s(now_s), self._step)

    def _look(self) -> None:
        """Whether the hub has the same. It answers only if not."""
        if self._is_equal:
            self._agreement.equal()  # the hub had nothing to say to the root before this one
        if self._outward.count_on(COUNTED_AT_ONCE):
            self._is_equal = True
            self._session.link.send([digest_frame(self._outward.root, differs=self._agreement.names)])
        self._session.timers.start("roots", self._pause_s, self._look)
