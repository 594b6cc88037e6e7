"""How often a device is sent what: a minimum distance for each address, a rate for all together, and the sender's
order.

One `Pacer` for each device. A param that waits is replaced by what is newer, and the last value always gets its turn.
The members of a bundle stay together. An event is never replaced; it waits only where the link or the rate for all
takes nothing, and what its sender sent before it goes out before it. Knows no OSC: keys and items are whatever the
owner has.
"""

from __future__ import annotations

import heapq
from asyncio import AbstractEventLoop, TimerHandle
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from clasp_edge.dataplane.account import Charge, Holding
from clasp_edge.devices.osc.slices import DUE, Slices
from clasp_edge.devices.osc.slot import Slot

RETRY_S = 0.01
"""Pause before a link that took nothing is tried again."""

MAX_SLOTS = 4096
"""Addresses of one device whose turn is still to come; above it the one longest in line goes out early."""

MAX_WAITING_BYTES = 1024 * 1024
"""What may wait for one device; above it the oldest is given up, and the owner told."""

UNIT_BYTES = 800
"""What is charged for something that waits, beside its bytes."""

FULL = 64
"""So much waiting is enough to keep a device busy: what could come as well is not hurried."""

BURST_S = 0.02
"""Of the rate for all: what may go out at once."""

FORGOTTEN_AT_ONCE = 256
"""Keys of one device that are nothing new any more: a burst may have left thousands."""

AT_ONCE = 16
BYTES_AT_ONCE = 16_384
"""What is due at once of one device, before the next one's turn."""

Member = tuple[bytes, Any]
"""A key and what is to be sent for it."""


class _Unit:
    """What goes out together: one param, one event, or the members of a bundle."""

    __slots__ = ("due_s", "lasting", "members", "number", "ordered", "sender", "size", "values")

    def __init__(self, members: list[Member], sender: object, *, ordered: bool, lasting: bool, size: int) -> None:
        self.members = members
        self.sender = sender
        self.due_s = 0.0
        self.ordered = ordered
        """Goes behind everything its sender has waiting."""
        self.lasting = lasting
        self.size = size
        self.number = 0
        """Of those that wait, in the order they came."""
        self.values: Sequence[Member] = ()
        """What is no event of something that lasts."""

    def is_value(self, member: Member, key: bytes) -> bool:
        """Whether this is the value for the key, and no event at the same one."""
        return member[0] == key and (not self.lasting or any(member is value for value in self.values))


class Pacer:
    """`send(members)` sends at once and says how many of them the link took. `rate` is per second and key, `total` per
    second of all keys; 0 for any. `given_up(members)` is told what could not wait any longer. What was waiting goes out
    in `slices`."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        slices: Slices,
        rate: float,
        send: Callable[[Sequence[Member]], int],
        total: float = 0.0,
        given_up: Callable[[Sequence[Member]], None] = lambda members: None,
    ) -> None:
        self._loop = loop
        self._slices = slices
        self._interval_s = 1 / rate if rate else 0.0
        self._total = total
        self._tokens = max(1.0, total * BURST_S)
        self._filled_s = loop.time()
        self._send = send
        self._given_up = given_up
        self._slots: OrderedDict[bytes, Slot] = OrderedDict()
        self._waiting: OrderedDict[_Unit, None] = OrderedDict()
        self._bytes = 0
        self._by_sender: dict[object, OrderedDict[_Unit, None]] = {}
        self._events: dict[object, _Unit] = {}
        """Of each sender the last of its events that wait."""
        self._line: list[tuple[float, int, _Unit]] = []
        self._numbers = count(1)
        self._timer: TimerHandle | None = None
        self._timer_s = 0.0
        self._has_turn = False
        """Something is due, and waits for the slice that it goes out in."""
        self._blocked_until_s = 0.0
        self.holding: Holding | None = None

    @property
    def blocked(self) -> bool:
        """Whether the link took nothing just now, or so much waits that more would only be replaced."""
        return self._blocked_until_s > self._loop.time() or len(self._waiting) > FULL

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, key: bytes, item: Any, sender: object = None, size: int = 0) -> None:
        """A param: now if the key's time has come, else when it comes, unless something newer is offered until then."""
        self._offer(_Unit([(key, item)], sender, ordered=False, lasting=False, size=size))

    def event(self, key: bytes, item: Any, sender: object = None, size: int = 0) -> None:
        """An event: now, behind everything its sender has waiting."""
        self._offer(_Unit([(key, item)], sender, ordered=True, lasting=True, size=size))

    def together(
        self, members: list[Member], sender: object, *, lasting: bool, values: Sequence[Member] = (), size: int = 0
    ) -> None:
        """A bundle, behind everything its sender has waiting. `lasting`: there are events in it, beside `values`."""
        unit = _Unit(members, sender, ordered=True, lasting=lasting, size=size)
        unit.values = values
        self._offer(unit)

    def waits(self, key: bytes) -> bool:
        """Whether something is still to be sent for the key."""
        slot = self._slots.get(key)
        return slot is not None and (slot.unit is not None or bool(slot.before))

    def forget(self, key: bytes) -> None:
        """What waits for the key is no longer wanted."""
        slot = self._slots.get(key)
        if slot is not None:
            for unit in (*(slot.before or ()), slot.unit):
                if unit is not None:
                    self._take_out(unit, key)

    def postpone(self, key: bytes, until_s: float) -> None:
        """Send nothing for the key before that time (of the loop)."""
        slot = self._slot(key, self._loop.time())
        slot.due_s = max(slot.due_s, until_s)
        slot.held_s = until_s

    def close(self) -> None:
        """Send nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._slices.leave(self, DUE)
        self._has_turn = False
        self._slots.clear()
        self._waiting.clear()
        self._by_sender.clear()
        self._events.clear()
        self._line.clear()
        self._bytes = 0

    # ---- what comes in ----

    def _offer(self, unit: _Unit) -> None:
        now_s = place_s = self._loop.time()
        may_s = 0.0
        last = self._events.get(unit.sender)
        if last is not None:
            unit.ordered = True  # what its sender said before has to go out first
        if unit.lasting:
            for member in unit.values:
                self._overtake(unit, member)
        else:
            for member in unit.members:
                key = member[0]
                slot = self._slots.get(key)
                if slot is None:
                    continue
                waiting = slot.unit
                may_s = max(may_s, slot.due_s)
                if waiting is not None:
                    counts = self._is_counted_on(waiting)
                    own = counts and waiting.sender is unit.sender
                    if len(unit.members) == 1 and (counts or slot.before) and not own:
                        self._renew(waiting, member, unit.size)
                        self._renew_older(slot, waiting, member, unit.size)
                        self._make_room()
                        return
                    if counts:
                        _put_before(slot, waiting)
                        slot.unit = None
                    else:
                        place_s = min(place_s, waiting.due_s)
                        self._take_out(waiting, key)
                self._renew_older(slot, unit, member, unit.size)
        unit.due_s = max(now_s, may_s, self._blocked_until_s)
        if (
            unit.due_s <= now_s
            and last is None  # else there is a timer for that, or a turn
            and (not unit.ordered or self._flush(unit.sender, now_s))
            and self._send_now(unit, now_s)
        ):
            return
        if place_s < now_s:
            # What changes faster than all is told would never get its turn at the end of the line.
            unit.due_s = max(place_s, may_s)
        self._wait(unit)

    def _overtake(self, unit: _Unit, member: Member) -> None:
        """A value beside an event: other senders' that wait for its key are older; the sender's own go out first."""
        slot = self._slots.get(member[0])
        if slot is None:
            return
        waiting = slot.unit
        if waiting is not None and waiting.sender is not unit.sender:
            if self._is_counted_on(waiting):
                _put_before(slot, waiting)
                slot.unit = None
            else:
                self._take_out(waiting, member[0])
        self._renew_older(slot, unit, member, unit.size)

    def _renew_older(self, slot: Slot, unit: _Unit, member: Member, size: int) -> None:
        """What is older must not go out behind this, which is in `unit`: it takes the place of all but what the unit's
        sender has ahead of that."""
        for older in slot.before or ():
            if older.sender is not unit.sender or 0 < unit.number < older.number:
                self._renew(older, member, size)

    def _renew(self, unit: _Unit, member: Member, size: int) -> None:
        """Of something that waits one value is replaced."""
        unit.members = [member if unit.is_value(one, member[0]) else one for one in unit.members]
        unit.values = [member if one[0] == member[0] else one for one in unit.values]
        # Of a bundle at most its largest replacement counts.
        self._grow(unit, size - unit.size if len(unit.members) == 1 else max(0, size - unit.size))

    def _grow(self, unit: _Unit, size: int) -> None:
        unit.size += size
        self._bytes += size
        if self.holding is not None:
            if size > 0:
                self.holding.force(size, Charge.OSC)
            else:
                self.holding.release(-size, Charge.OSC)

    def _is_counted_on(self, unit: _Unit) -> bool:
        """Whether an event of its sender waits behind it."""
        last = self._events.get(unit.sender)
        return last is not None and unit.number < last.number

    def _flush(self, sender: object, now_s: float, before: _Unit | None = None) -> bool:
        """Send what this sender has waiting (`before`: only what came before this); whether all of it went out. Of much
        it is a part."""
        some: list[_Unit] = []
        size = 0
        is_all = True
        for unit in self._by_sender.get(sender, ()):
            if unit is before:
                break
            if self._is_held(unit, now_s):
                continue
            if len(some) == AT_ONCE or size > BYTES_AT_ONCE:
                is_all = False
                break
            some.append(unit)
            size += unit.size
        for unit in some:
            if self._blocked_until_s > now_s + 0.001 or not self._try(unit, now_s):
                return False
        return is_all

    def _is_held(self, unit: _Unit, now_s: float) -> bool:
        """Whether it is held back for another reason than a rate: that lasts, whatever comes next."""
        return any((slot := self._slots.get(key)) is not None and slot.held_s > now_s for key, _ in unit.members)

    # ---- what goes out ----

    def _try(self, unit: _Unit, now_s: float) -> bool:
        """Send something that waits; what does not go out waits on, in its place."""
        if self._send_now(unit, now_s):
            self._leave(unit)
            return True
        heapq.heappush(self._line, (unit.due_s, next(self._numbers), unit))
        self._arm()
        return False

    def _send_now(self, unit: _Unit, now_s: float) -> bool:
        """Whether everything in the unit went out; what did not is left in it, with a time to try again."""
        members = unit.members
        allowed = len(members)
        if self._total:
            burst = max(1.0, self._total * BURST_S)
            self._tokens = min(burst, self._tokens + (now_s - self._filled_s) * self._total)
            self._filled_s = now_s
            allowed = min(allowed, int(self._tokens + 1e-6))
            if not allowed:
                unit.due_s = self._blocked_until_s = now_s + max(0.002, (1 - self._tokens) / self._total)
                return False
        sent = self._send(members[:allowed])
        self._tokens -= sent
        for key, _ in members[:sent]:
            self._done(unit, key)
            if self._interval_s and not unit.lasting:
                slot = self._slot(key, now_s)
                slot.due_s = max(slot.due_s, now_s + self._interval_s)
        if sent == len(members):
            return True
        del members[:sent]
        self._blocked_until_s = now_s + (max(0.002, 1 / self._total) if sent == allowed else RETRY_S)
        unit.due_s = self._blocked_until_s
        return False

    # ---- what waits ----

    def _wait(self, unit: _Unit) -> None:
        now_s = self._loop.time()
        if not unit.lasting:
            for key, _ in unit.members:
                slot = self._slot(key, now_s)
                slot.unit = unit
        self._waiting[unit] = None
        unit.number = next(self._numbers)
        if unit.lasting:
            self._events[unit.sender] = unit
            for key, _ in unit.values:
                _put_before(self._slot(key, now_s), unit)
        self._bytes += unit.size
        if self.holding is not None:
            self.holding.force(UNIT_BYTES + unit.size, Charge.OSC)
        self._by_sender.setdefault(unit.sender, OrderedDict())[unit] = None
        heapq.heappush(self._line, (unit.due_s, next(self._numbers), unit))
        if len(self._line) > 2 * len(self._waiting) + FULL:
            # Of what was replaced there is more than of what waits, and its time may be far.
            self._line = [(waiting.due_s, waiting.number, waiting) for waiting in self._waiting]
            heapq.heapify(self._line)
        self._arm()
        self._make_room()

    def _make_room(self) -> None:
        """Give up the oldest where too much waits."""
        while len(self._waiting) > 1 and (self._bytes > MAX_WAITING_BYTES or not self._within_share()):
            oldest = next(iter(self._waiting))
            self._leave(oldest)
            self._given_up(oldest.members)

    def _within_share(self) -> bool:
        return self.holding is None or self.holding.account.within()

    def _leave(self, unit: _Unit) -> None:
        """The unit waits no longer."""
        if unit not in self._waiting:
            return
        del self._waiting[unit]
        self._bytes -= unit.size
        if self.holding is not None:
            self.holding.release(UNIT_BYTES + unit.size, Charge.OSC)
        mine = self._by_sender[unit.sender]
        del mine[unit]
        if not mine:
            del self._by_sender[unit.sender]
        if self._events.get(unit.sender) is unit:
            del self._events[unit.sender]
            earlier = next((one for one in reversed(mine) if one.lasting), None)
            if earlier is not None:
                self._events[unit.sender] = earlier
        for key, _ in unit.members:
            self._done(unit, key)

    def _take_out(self, unit: _Unit, key: bytes) -> None:
        """One of its members is no longer wanted."""
        unit.members = [member for member in unit.members if not unit.is_value(member, key)]
        self._done(unit, key)
        if not unit.members:
            self._leave(unit)

    def _done(self, unit: _Unit, key: bytes) -> None:
        """The unit has nothing waiting for the key any more."""
        slot = self._slots.get(key)
        if slot is None:
            return
        if slot.unit is unit:
            slot.unit = None
        elif slot.before is not None and unit in slot.before:
            slot.before.remove(unit)

    def forget_old(self, now_s: float) -> None:
        """Keys for which nothing waits, and whose turn has come, are nothing new any more; so many at a time."""
        for _ in range(min(len(self._slots), FORGOTTEN_AT_ONCE)):
            oldest = next(iter(self._slots.values()))
            if oldest.unit is not None or oldest.before or oldest.due_s > now_s:
                break
            self._slots.popitem(last=False)

    def _slot(self, key: bytes, now_s: float) -> Slot:
        slot = self._slots.get(key)
        if slot is not None:
            self._slots.move_to_end(key)
            return slot
        self.forget_old(now_s)
        if len(self._slots) >= MAX_SLOTS:
            _, crowded = self._slots.popitem(last=False)
            if crowded.unit is not None:
                unit = crowded.unit
                self._leave(unit)
                if not self._send_now(unit, now_s):
                    self._given_up(unit.members)
        slot = self._slots[key] = Slot()
        return slot

    def _arm(self) -> None:
        if not self._line or self._has_turn:
            return
        due_s = max(self._line[0][0], self._blocked_until_s)
        if self._timer is not None:
            if self._timer_s <= due_s:
                return
            self._timer.cancel()
        self._timer_s = due_s
        self._timer = self._loop.call_at(due_s, self._due)

    def _due(self) -> None:
        self._timer = None
        self._has_turn = True
        self._slices.want(self, DUE)

    def resume(self) -> bool:
        """Send some of what is due; whether more is."""
        self._has_turn = False
        now_s = self._loop.time()
        left = AT_ONCE
        # The loop's timers are as coarse as a millisecond: what is due within it goes out too.
        # One attempt at a blocked link is enough: the others wait in line as they are.
        while self._line and max(self._line[0][0], self._blocked_until_s) <= now_s + 0.001:
            if left <= 0:
                self._has_turn = True
                return True
            due_s, _, unit = heapq.heappop(self._line)
            left -= 1 + AT_ONCE * unit.size // BYTES_AT_ONCE
            if unit not in self._waiting or due_s < unit.due_s:
                continue
            held_s = self._held_until(unit)
            if held_s > now_s + 0.001:
                unit.due_s = held_s
                heapq.heappush(self._line, (held_s, next(self._numbers), unit))
                continue
            if unit.ordered and not self._flush(unit.sender, now_s, unit):
                # Behind what its sender said before, of which there may be much.
                unit.due_s = max(now_s, self._blocked_until_s)
                heapq.heappush(self._line, (unit.due_s, next(self._numbers), unit))
                left -= AT_ONCE
            else:
                self._try(unit, now_s)
        self._arm()
        return False

    def _held_until(self, unit: _Unit) -> float:
        if unit.lasting:
            return 0.0
        return max((slot.due_s for key, _ in unit.members if (slot := self._slots.get(key)) is not None), default=0.0)


def _put_before(slot: Slot, unit: _Unit) -> None:
    if slot.before is None:
        slot.before = []
    slot.before.append(unit)
