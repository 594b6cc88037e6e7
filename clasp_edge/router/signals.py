"""What clients say about themselves: ANNOUNCE stores signal definitions, QUERY finds them (router.md 8.1)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from clasp_edge.clock import Clock
from clasp_edge.dataplane.account import Account, Charge, Holding
from clasp_edge.dataplane.trie import subscription_bytes
from clasp_edge.router.long_message import carry_out
from clasp_edge.wire import Ack, Announce, ErrorCode, Query, Result, Signal, SignalMeta, encode
from clasp_edge.wire.address import AddressError, validate_address
from clasp_edge.wire.pattern import Pattern, PatternError

if TYPE_CHECKING:
    from clasp_edge.router.session import Envelope, Session

SIGNAL_TTL_S = 3600
"""A definition is forgotten this long after its last ANNOUNCE (router.md 3.4)."""

PAGE_BYTES = 60_000
"""Strings of one RESULT: less than the payload limit by what the other fields take."""

PAGE_SIGNALS = 512
"""In one RESULT: it is made in one part, in half a millisecond, for a client of MessagePack in two."""

EXPIRED_AT_ONCE = 256
"""Definitions that are forgotten at a look: half a millisecond."""

SCAN_AT_ONCE = 256
"""Definitions looked at before others get their turn: a quarter of a millisecond, with scopes a whole one."""

ANNOUNCED_AT_ONCE = 16
"""Definitions that are checked or kept before others get their turn: a quarter of a millisecond."""

MAX_TEXT_BYTES = 256
"""Of a datatype or an access: words such as "f32" or "rw". Every definition is kept for an hour."""

_SIGNAL_BYTES = 1024
"""What a definition takes beside its texts."""

_SIGNAL_OVERHEAD_BYTES = 8
"""Length fields, type and option byte of one line of RESULT (wire.md 2.3)."""


class _Announced(NamedTuple):
    at_s: float
    signal: Signal
    holding: Holding
    meta: SignalMeta | None


class SignalRegistry:
    """Signal definitions by address, the longest un-announced first. Of more than `limit`, who has announced most loses
    the one it has not announced for longest."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._signals: OrderedDict[str, _Announced] = OrderedDict()
        self._by_account: dict[Account, OrderedDict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._signals)

    def store(self, signal: Signal, account: Account, limit: int) -> bool:
        """Keep or renew a definition, its meta apart: no RESULT can carry that (wire.md 2.3). False where the account
        has no room for it."""
        holding = Holding(account)
        meta = _kept(signal.meta)
        texts = (signal.address, signal.datatype or "", signal.access or "", *_texts(meta))
        if not holding.charge(_SIGNAL_BYTES + sum(len(text.encode()) for text in texts), Charge.ANNOUNCES):
            return False
        self._drop(signal.address)
        kept = Signal(signal.address, signal.type, signal.datatype, signal.access)
        self._signals[signal.address] = _Announced(self._clock.monotonic_s(), kept, holding, meta)
        self._by_account.setdefault(account, OrderedDict())[signal.address] = None
        while len(self._signals) > limit:
            most = max(self._by_account.values(), key=len)
            self._drop(next(iter(most)))
        return True

    def all(self) -> list[Signal]:
        """The definitions that are still good."""
        self._expire()
        oldest_s = self._clock.monotonic_s() - SIGNAL_TTL_S
        return [announced.signal for announced in self._signals.values() if announced.at_s >= oldest_s]

    def described(self, address: str) -> tuple[SignalMeta | None, str]:
        """What was announced of an address: range, unit and description, and the access."""
        announced = self._signals.get(address)
        return (None, "") if announced is None else (announced.meta, (announced.signal.access or "").lower())

    def _drop(self, address: str) -> None:
        announced = self._signals.pop(address, None)
        if announced is None:
            return
        account = announced.holding.account
        theirs = self._by_account[account]
        del theirs[address]
        if not theirs:
            del self._by_account[account]
        announced.holding.close()

    def _expire(self) -> None:
        oldest_s = self._clock.monotonic_s() - SIGNAL_TTL_S
        for _ in range(EXPIRED_AT_ONCE):
            if not self._signals or next(iter(self._signals.values())).at_s >= oldest_s:
                break
            self._drop(next(iter(self._signals)))


def _kept(meta: SignalMeta | None) -> SignalMeta | None:
    """What is kept of it: no default value, and texts as long as the others are."""
    if meta is None:
        return None
    return SignalMeta(unit=_cut(meta.unit), range=meta.range, description=_cut(meta.description))


def _cut(text: str | None) -> str | None:
    return None if text is None else text.encode()[:MAX_TEXT_BYTES].decode("utf-8", "ignore")


def _texts(meta: SignalMeta | None) -> tuple[str, ...]:
    return () if meta is None else (meta.unit or "", meta.description or "")


def handle_announce(session: Session, message: Announce, envelope: Envelope) -> None:
    """Store the definitions and acknowledge with the namespace. In parts: one message has thousands."""
    carry_out(session, _announce(session, message, envelope.legacy))


def _announce(session: Session, message: Announce, legacy: bool) -> Iterator[None]:
    for number, signal in enumerate(message.signals, 1):
        if number % ANNOUNCED_AT_ONCE == 0:
            yield
        address = signal.address.encode()
        try:
            validate_address(address)
        except AddressError as error:
            session.error(ErrorCode.INVALID_ADDRESS, str(error), signal.address[:256])
            return
        if max(len(text.encode()) for text in (signal.datatype or "", signal.access or "")) > MAX_TEXT_BYTES:
            text = f"A datatype and an access have at most {MAX_TEXT_BYTES} bytes"
            session.error(ErrorCode.INVALID_VALUE, text, signal.address)
            return
        # What the token says: a confinement is about SET and PUBLISH only (router.md 8.6).
        if session.granted is not None and not session.granted.allows("write", address):
            session.error(ErrorCode.FORBIDDEN, "Insufficient scope for announce", signal.address)
            return
    limit = session.router.config.limits.max_announced_signals
    for number, signal in enumerate(message.signals, 1):
        if number % ANNOUNCED_AT_ONCE == 0:
            yield
        if not session.router.signals.store(signal, session.holding.account, limit):
            text = f"Not announced: {session.router.memory_full()}"
            session.error(ErrorCode.RATE_LIMITED, text, signal.address[:256])
            return
    # Only the Python client sends ANNOUNCE in the legacy encoding, and its receive loop ends on an ACK (wire.md 8).
    if not legacy:
        session.reply(Ack(address=message.namespace))


def handle_query(session: Session, message: Query, envelope: Envelope) -> None:
    """Answer with as many RESULTs as it takes, at least one."""
    try:
        pattern = Pattern(message.pattern.encode())
    except PatternError as error:
        session.error(ErrorCode.PATTERN_ERROR, str(error), message.pattern[:256])
        return
    signals = session.router.signals.all()
    if not session.start_job(_answer(session, pattern, signals), subscription_bytes(pattern) + 16 * len(signals)):
        session.error(ErrorCode.RATE_LIMITED, f"Not answered: {session.router.memory_full()}", message.pattern[:256])


def _answer(session: Session, pattern: Pattern, signals: Sequence[Signal]) -> Iterator[bytes]:
    """Wire images of the RESULTs with those of the signals that match and that the session may read."""
    found: list[Signal] = []
    for count, signal in enumerate(signals, 1):
        if count % SCAN_AT_ONCE == 0:
            yield b""
        address = signal.address.encode()
        if pattern.matches(address) and (session.scopes is None or session.scopes.allows("read", address)):
            found.append(signal)
    for page in _pages(found):
        yield session.image(encode(Result(signals=page)))


def _pages(signals: list[Signal]) -> Iterator[list[Signal]]:
    page: list[Signal] = []
    size = 0
    for signal in signals:
        texts = (signal.address, signal.datatype or "", signal.access or "")
        need = _SIGNAL_OVERHEAD_BYTES + sum(len(text.encode()) for text in texts)
        if page and (size + need > PAGE_BYTES or len(page) == PAGE_SIGNALS):
            yield page
            page, size = [], 0
        page.append(signal)
        size += need
    yield page
