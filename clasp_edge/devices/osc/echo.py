"""What one device was told and what it said, by address: so that it is not believed when it only repeats.

A motor fader reports the positions it was just moved to, late and one after the other; a feedback mapping sends back
what
it was sent. Either, taken for news, runs round between two devices for ever. What comes back as another number type is
the same value. Also notices a loop over two addresses, which no comparison of values finds. Knows no sockets.
"""

from __future__ import annotations

import hashlib
import struct
from collections import OrderedDict
from collections.abc import Callable, Hashable

from clasp_edge.dataplane.account import Charge, Holding
from clasp_edge.devices.osc.echo_record import EchoRecord
from clasp_edge.wire import Value, decode_value

Known = tuple[int, bytes]
"""A value type and its encoded data (wire.md 2.2)."""

EVENT = object()
"""Told in the place of a value: nothing that could come back is one."""

FORGOTTEN_AT_ONCE = 256
"""Addresses at which nothing happens any more: a burst may have left thousands."""

ANSWER_S = 0.5
"""Something said within this time after the same address was told may be an answer to it."""

WINDOW_S = 2.0

CROSSINGS = 250
"""So often within a window the same or alternating values told, and something heard each time: a loop over two
addresses. A loop runs as fast as the network; a blinking lamp beside a busy sensor does not."""

REMEMBERED_VALUES = 4
"""Alternating means: among so many."""

TOLD_PER_S = 256
LEAST_TOLD = 64
"""Values of one address that are remembered as told, by the time they count: four times what a hand at 60 Hz makes."""

STEPS = 5
"""So often the same in a row."""

ROUNDING = 0.0051
"""A fader in percent is off by half a step, one of 7 bits by less; of values above 1 so much of the value."""

HOLD_S = 5.0
"""How long a device is told nothing on an address of such a loop."""

KEEP_S = 10.0
MAX_RECORDS = 4096
RECORD_BYTES = 1000
"""What an address is charged, beside its text: with some values of ordinary size, which are the only ones that are
remembered as they are."""

ORDINARY_BYTES = 256
"""Of an encoded value. A larger one is no fader."""

SCALAR_BYTES = 64
ORDINARY_CHARACTERS = 600
"""Of a value as it is compared: of a longer one, never one of SCALAR_BYTES, only a digest is remembered."""

MOST_READ_BYTES = 4096
"""What is longer, no row of faders, is compared as it is encoded."""

_SINGLE = struct.Struct(">f")
_EXACT_IN_SINGLE = 1 << 24


def comparable(known: Known) -> Hashable:
    """The value as it is compared: 1, 1.0 and true are the same, and so is 0.1 in single and double precision; nested
    arrays are one row, as most devices have them. Of what is large it is a digest."""
    size = len(known[1])
    if size > MOST_READ_BYTES:
        return hashlib.blake2b(known[1], digest_size=16, key=known[0].to_bytes(1, "big")).digest()
    value = _comparable(decode_value(*known))
    # By what is said and not by its bytes: the same row takes fewer of them in whole numbers or in single precision.
    if size > SCALAR_BYTES and len(text := repr(value)) > ORDINARY_CHARACTERS:
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return value


def _comparable(value: Value) -> Hashable:
    if isinstance(value, (bool, int)):
        return float(value) if -_EXACT_IN_SINGLE <= value <= _EXACT_IN_SINGLE else int(value)
    if isinstance(value, float):
        return _rounded(value)
    if isinstance(value, (list, tuple)):
        row: list[Hashable] = []
        for element in value:
            part = _comparable(element)
            row.extend(part if isinstance(part, tuple) else (part,))
        return row[0] if len(row) == 1 else tuple(row)
    if isinstance(value, dict):
        return repr(value)
    return value


def is_rounded(told: Hashable, said: Hashable) -> bool:
    """Whether `said` may be `told` as a device with fewer steps has it. Whole numbers are nobody's rounding of one
    another."""
    if isinstance(told, tuple):
        return (
            isinstance(said, tuple)
            and len(said) == len(told)
            and all(one == other or is_rounded(one, other) for one, other in zip(told, said, strict=True))
        )
    if isinstance(told, int) and isinstance(said, float):
        return _rounded(told) == said  # more digits than a single has
    if not isinstance(told, float) or not isinstance(said, float) or (told.is_integer() and said.is_integer()):
        return False
    return abs(told - said) <= ROUNDING * max(1.0, abs(told))


def _rounded(value: float) -> Hashable:
    try:
        single: float = _SINGLE.unpack(_SINGLE.pack(value))[0]
    except OverflowError:
        return "inf" if value > 0 else "-inf"
    if single != single:
        return "nan"
    return single


class EchoMemory:
    """One device. `on_loop(address, until_s)` is called when a loop over two addresses is broken. `echo_s` is how long
    what was told counts as told, 0: nothing is an echo. Times are seconds of one clock."""

    def __init__(self, rate: float, echo_s: float, on_loop: Callable[[bytes, float], None]) -> None:
        # A loop through a slow device is slow itself.
        self._window_s = max(WINDOW_S, 1.5 * CROSSINGS / rate) if rate else WINDOW_S
        self._echo_s = echo_s
        self._on_loop = on_loop
        self._max_told = max(LEAST_TOLD, int(TOLD_PER_S * echo_s))
        self.holding: Holding | None = None
        self._records: OrderedDict[bytes, EchoRecord] = OrderedDict()

    def repeats(self, address: bytes, known: Known, now_s: float) -> bool:
        """The device said this: whether it only repeats, or rounds, what it was told a moment before."""
        record = self._records.get(address)
        if record is not None and record.told and self._echo_s:
            said = comparable(known)
            told_s = record.told.get(said)
            if told_s is not None and now_s - told_s < self._echo_s:
                return True
            for told, told_s in reversed(record.told.items()):
                if now_s - told_s >= self._echo_s:
                    break
                if is_rounded(told, said):
                    return True
        self._record(address, now_s).said_s = now_s
        return False

    def answers(self, address: bytes, now_s: float) -> bool:
        """Whether what the device says now may be an answer to what it was told at this address."""
        record = self._records.get(address)
        return record is not None and now_s - record.told_s < ANSWER_S

    def told(self, address: bytes, value: Hashable, now_s: float, contacts: int) -> None:
        """The device was told this (`comparable`, or EVENT). `contacts` counts what was heard from it so far."""
        record = self._record(address, now_s)
        record.told_s = now_s
        if value is EVENT:
            return
        told = record.told
        if told is None:
            told = record.told = {}
        record.same = record.same + 1 if told and value == next(reversed(told)) else 0
        told.pop(value, None)
        told[value] = now_s
        while len(told) > 1:
            oldest, told_s = next(iter(told.items()))
            if len(told) <= self._max_told and told_s >= now_s - self._echo_s:
                break
            del told[oldest]
        if self._again(record, value, now_s) and contacts != record.contacts:
            record.crossings += 1
            if record.crossings >= CROSSINGS:
                self._break(address, record, now_s)
        record.contacts = contacts

    def last_told(self, address: bytes) -> Hashable:
        """The newest value that it was told, as `comparable` has it; None where none is known."""
        record = self._records.get(address)
        return next(reversed(record.told), None) if record is not None and record.told else None

    def looks_relative(self, address: bytes) -> bool:
        """Whether it has been told one whole number again and again: no fader's position is that, but an encoder's
        steps and a button's presses are."""
        record = self._records.get(address)
        if record is None or not record.told or record.same < STEPS:
            return False
        value = next(reversed(record.told))
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())

    def told_s(self, address: bytes) -> float:
        """When it was told something at this address last."""
        record = self._records.get(address)
        return record.told_s if record is not None else -1e9

    def said_since(self, address: bytes, since_s: float) -> bool:
        """Whether the device itself has set this address since then."""
        record = self._records.get(address)
        return record is not None and record.said_s >= since_s

    def forget_old(self, now_s: float) -> None:
        """Nothing was heard of some addresses for long: they are remembered no more, so many at a time."""
        for _ in range(min(len(self._records), FORGOTTEN_AT_ONCE)):
            oldest = next(iter(self._records.values()))
            if max(oldest.touched_s + KEEP_S, oldest.held_s) > now_s:
                break
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        address, _ = self._records.popitem(last=False)
        if self.holding is not None:
            self.holding.release(RECORD_BYTES + len(address), Charge.OSC)

    def _record(self, address: bytes, now_s: float) -> EchoRecord:
        record = self._records.get(address)
        if record is None:
            holding = self.holding
            while self._records:
                oldest = next(iter(self._records.values()))
                fits = len(self._records) < MAX_RECORDS and (holding is None or holding.account.within())
                if fits and max(oldest.touched_s + KEEP_S, oldest.held_s) > now_s:
                    break
                self._forget_oldest()
            record = self._records[address] = EchoRecord(now_s)
            if holding is not None:
                holding.force(RECORD_BYTES + len(address), Charge.OSC)
        else:
            record.touched_s = now_s
            self._records.move_to_end(address)
        return record

    def _again(self, record: EchoRecord, value: Hashable, now_s: float) -> bool:
        """Whether the value is one of those that went by lately; a new window starts the counts anew."""
        if now_s - record.window_s > self._window_s:
            record.window_s = now_s
            record.crossings = 0
        if value in record.recent:
            return True
        record.recent = (*record.recent, value)[-REMEMBERED_VALUES:]
        return False

    def _break(self, address: bytes, record: EchoRecord, now_s: float) -> None:
        record.crossings = 0
        record.recent = ()
        record.held_s = now_s + HOLD_S
        self._on_loop(address, record.held_s)
