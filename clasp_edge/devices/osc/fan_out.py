"""What all devices are to be told, in slices: a message that goes to hundreds of them holds nobody else up for long.

Each device's deliveries stay in their order. What is little is done at once; the rest waits as it came, and is looked
through when the device's turn comes: of a param the newest value counts that no event came behind. Above a bound
devices let go of values that wait, and are told later how those params stand then; events wait on, and where there are
too many of them, the oldest are lost, which the device is told of. Knows no OSC.
"""

from __future__ import annotations

import logging
import time
from asyncio import AbstractEventLoop, Handle
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

log = logging.getLogger("clasp_edge.osc")

_FRAME, _BUNDLE = 2, 4

SLICE_S = 0.003
"""Of CPU, before everybody else has a turn."""

HEAD_BYTES = 250
"""What a delivery that waits takes beside its frame: once, however many devices it waits for."""

PART_BYTES = 400
"""What a device takes for something that waits by itself, or for what waits of a bundle."""

MEMBER_BYTES = 24
"""What it takes for each delivery of them: memory, and the time to let go of it."""

MAX_WAITING_BYTES = 8 * 1024 * 1024

RELIEVED_BYTES = MAX_WAITING_BYTES * 7 // 8
"""Above the bound events are lost until no more than this waits: so that it is not every message that has to look."""

AT_ONCE = 32
"""Deliveries of one device before the next one's; those of one bundle stay together, up to the next number."""

BUNDLE_AT_ONCE = 128
"""Of a bundle: more of them take a slice by themselves."""

SORTED_AT_ONCE = 128
"""Deliveries that are looked through before the clock is looked at."""


class Receiver(Protocol):
    """A device as this sees it. To those of one `profile` the same things are expendable."""

    profile: Any

    def take(self, deliveries: Sequence[Any]) -> None:
        """Handle what was delivered."""

    def replaceable(self, delivery: Any) -> bytes | None:
        """The address of a param of which only the newest value counts; None for what has to be told each time."""

    def expendable(self, delivery: Any) -> bool:
        """Whether it can be let go where too much waits: a value, which is followed by a newer one or told later."""

    def outrun(self, since_us: int) -> None:
        """Values were let go that were said since then (Unix microseconds)."""

    def lose(self, count: int) -> None:
        """So many events were lost: more came than everybody can be told."""


_Key = tuple[int, int, int]

Part = tuple[bytes | None, Sequence[Any]]
"""One delivery, with the address where it is replaceable, or what belongs to one bundle."""


class _Pending:
    """What one device is still to be told, since `since_us`."""

    __slots__ = ("batches", "parts", "places", "run", "since_us", "under_way")

    def __init__(self, since_us: int) -> None:
        self.since_us = since_us
        self.batches: deque[Sequence[Any]] = deque()
        """What has come behind all that is in `parts`, each as it came."""
        self.under_way: Iterator[Sequence[Any]] | None = None
        """What is not yet in `parts` of the first of them."""
        self.parts: OrderedDict[int, Part] = OrderedDict()
        self.places: dict[bytes, int] = {}
        """Where the newest values are that nothing else has come behind."""
        self.run = 0
        """Which of the parts has the events that came last and takes more: a list of its own."""

    def __len__(self) -> int:
        return len(self.batches) + len(self.parts)


class _Lasting:
    """What is left of deliveries where values are let go: mostly the same ones wait for many devices."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, _Key], tuple[Sequence[Any], list[Any]]] = {}

    def of(self, receiver: Receiver, part: Sequence[Any]) -> list[Any]:
        """Those of `part` that are not expendable."""
        key = id(receiver.profile), _key(part)
        found = self._found.get(key)
        # Equal is quickly told: mostly they are the same objects.
        if found is None or (found[0] is not part and found[0] != part):
            found = self._found[key] = part, [delivery for delivery in part if not receiver.expendable(delivery)]
        return found[1]


class FanOut:
    """All devices of one server. `cpu_s` is CPU time of this thread: other programs make no slice short. A delivery is
    `(origin, signal, frame, tail, bundle, marks)`, as `source.Party` has it."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        cpu_s: Callable[[], float] = time.thread_time,
        wall_us: Callable[[], int] = lambda: int(time.time() * 1e6),
    ) -> None:
        self._loop = loop
        self._cpu_s = cpu_s
        self._wall_us = wall_us
        self._line: OrderedDict[Receiver, _Pending] = OrderedDict()
        self._bytes = 0
        self._held: dict[int, int] = {}
        """How often each delivery waits, by its identity: of a bundle each device has what it is subscribed to."""
        self._batches: dict[_Key, tuple[int, int]] = {}
        """How often a batch waits, and what its contents take. Others with the same ends may have less between them."""
        self._number = 0
        self._turn: Handle | None = None
        self._slice_s = -1.0
        self._spent = False
        """The slice is over: asking the clock again for each delivery would cost more than a delivery."""
        self._busy = False

    def __len__(self) -> int:
        """How many devices wait."""
        return len(self._line)

    @property
    def is_behind(self) -> bool:
        """Whether so much waits that more would soon have to be told at once."""
        return self._bytes > MAX_WAITING_BYTES // 2

    def add(self, receiver: Receiver, deliveries: Sequence[Any]) -> None:
        """Tell a device, now if there is time. The caller changes nothing of `deliveries` from now on."""
        if not deliveries:
            return
        if self._turn is None:
            self._begin_slice()
        if not self._line and not self._busy and len(deliveries) <= BUNDLE_AT_ONCE and self._has_time():
            self._tell(receiver, deliveries)
            return
        pending = self._line.get(receiver)
        if pending is None:
            pending = self._line[receiver] = _Pending(self._wall_us())
        pending.batches.append(deliveries)
        self._hold_batch(deliveries)
        self._work()

    def close(self) -> None:
        """Tell nobody any more."""
        self._line.clear()
        self._held.clear()
        self._batches.clear()
        self._bytes = 0
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _hold_batch(self, batch: Sequence[Any]) -> None:
        key = _key(batch)
        count, size = self._batches.get(key, (0, 0))
        if not count:
            size = sum(map(_size, batch))
            self._bytes += size
        self._batches[key] = count + 1, size
        self._bytes += _share(batch)

    def _release_batch(self, batch: Sequence[Any]) -> None:
        key = _key(batch)
        count, size = self._batches.pop(key)
        if count > 1:
            self._batches[key] = count - 1, size
        else:
            self._bytes -= size
        self._bytes -= _share(batch)

    def _sort(self, receiver: Receiver, pending: _Pending, at_once: int = SORTED_AT_ONCE) -> None:
        """Look through some of the first batch."""
        if pending.under_way is None:
            pending.under_way = _parts(pending.batches[0])
        for part in pending.under_way:
            self._put(pending, receiver.replaceable(part[0]) if len(part) == 1 else None, part)
            at_once -= len(part)
            if at_once <= 0:
                return
        pending.under_way = None
        self._release_batch(pending.batches.popleft())

    def _put(self, pending: _Pending, address: bytes | None, part: Sequence[Any]) -> None:
        is_run = address is None and len(part) == 1 and not part[0][_BUNDLE]
        if is_run:
            run = pending.parts.get(pending.run)
            if run is not None and len(run[1]) < AT_ONCE:
                self._hold_one(part[0])
                self._bytes += MEMBER_BYTES
                run[1].append(part[0])  # type: ignore[attr-defined]
                return
            part = [part[0]]
        self._hold(part)
        self._number += 1
        pending.run = self._number if is_run else 0
        if address is None:
            pending.places.clear()
        else:
            before = pending.places.get(address)
            if before is not None:
                self._release(pending.parts.pop(before)[1])
            pending.places[address] = self._number
        pending.parts[self._number] = address, part

    def _hold(self, part: Sequence[Any]) -> None:
        self._bytes += _share(part)
        for delivery in part:
            self._hold_one(delivery)

    def _hold_one(self, delivery: Any) -> None:
        key = id(delivery)
        count = self._held.get(key, 0)
        self._held[key] = count + 1
        if not count:
            self._bytes += _size(delivery)

    def _release(self, part: Sequence[Any]) -> None:
        held = self._held
        self._bytes -= _share(part)
        for delivery in part:
            key = id(delivery)
            count = held.pop(key) - 1
            if count:
                held[key] = count
            else:
                self._bytes -= _size(delivery)

    def _go_on(self) -> None:
        """A turn of the loop's: a slice of its own."""
        self._turn = None
        if self._line:
            self._begin_slice()
            self._work()

    def _begin_slice(self) -> None:
        self._slice_s = self._cpu_s() + SLICE_S
        self._spent = False
        self._turn = self._loop.call_soon(self._go_on)

    def _has_time(self) -> bool:
        if not self._spent:
            self._spent = self._cpu_s() >= self._slice_s
        return not self._spent

    def _work(self) -> None:
        if self._busy:
            return  # what a device is told now comes before what it is told because of that
        while self._line:
            if not self._has_time():
                # Also because looking through what had come took more room.
                if self._bytes > MAX_WAITING_BYTES:
                    self._relieve()
                    if self._bytes > MAX_WAITING_BYTES:
                        self._shed()
                break
            receiver, pending = next(iter(self._line.items()))
            if pending.batches:
                self._sort(receiver, pending)
                if pending.batches:
                    continue
            some = self._some(pending)
            if pending.parts:
                self._line.move_to_end(receiver)
            else:
                del self._line[receiver]
            self._tell(receiver, some)

    def _some(self, pending: _Pending) -> list[Any]:
        """What is next; no bundle is taken apart further."""
        some: list[Any] = []
        while pending.parts:
            number, (address, part) = next(iter(pending.parts.items()))
            if some and len(some) + len(part) > AT_ONCE:
                break
            del pending.parts[number]
            self._release(part)
            some.extend(part)
            if address is not None and pending.places.get(address) == number:
                del pending.places[address]
        return some

    def _relieve(self) -> None:
        """Have devices let go of values, those first that have waited for longest, until half of what may wait does."""
        lasting = _Lasting()
        for receiver, pending in list(self._line.items()):
            if self._bytes <= MAX_WAITING_BYTES // 2:
                return
            if not self._let_go(receiver, pending, lasting):
                continue
            if not pending.parts and not pending.batches:
                del self._line[receiver]
            try:
                receiver.outrun(pending.since_us)
            except Exception:
                log.exception("a device could not be told what it was not told")

    def _shed(self) -> None:
        """Have devices lose the older half of what waits, those first for which most does, until there is room
        again."""
        while self._bytes > RELIEVED_BYTES and self._line:
            for receiver, pending in sorted(self._line.items(), key=lambda item: -len(item[1])):
                if self._bytes <= RELIEVED_BYTES:
                    return
                lost = self._lose_half(receiver, pending)
                if not len(pending):
                    del self._line[receiver]
                try:
                    receiver.lose(lost)
                except Exception:
                    log.exception("a device could not be told what it has lost")

    def _lose_half(self, receiver: Receiver, pending: _Pending) -> int:
        """How many that were."""
        while pending.under_way is not None:
            self._sort(receiver, pending)
        pending.places.clear()
        lost = 0
        for _ in range((len(pending.parts) + 1) // 2):
            _, (_, part) = pending.parts.popitem(last=False)
            self._release(part)
            lost += len(part)
        if not lost:
            for _ in range((len(pending.batches) + 1) // 2):
                batch = pending.batches.popleft()
                self._release_batch(batch)
                lost += len(batch)
        return lost

    def _let_go(self, receiver: Receiver, pending: _Pending, lasting: _Lasting) -> bool:
        """Take the values out of what waits; whether there were any."""
        while pending.under_way is not None:
            self._sort(receiver, pending)
        before, pending.parts = pending.parts, OrderedDict()
        pending.places.clear()
        pending.run = 0
        any_gone = False

        for _ in range(len(pending.batches)):
            batch = pending.batches.popleft()
            left = lasting.of(receiver, batch)
            if len(left) == len(batch):
                pending.batches.append(batch)
                continue
            any_gone = True
            if left:
                self._hold_batch(left)
                pending.batches.append(left)
            self._release_batch(batch)
        for number, (_, part) in before.items():
            left = lasting.of(receiver, part)
            if len(left) == len(part):
                pending.parts[number] = None, part
                continue
            any_gone = True
            if left:
                self._hold(left)
                pending.parts[number] = None, left
            self._release(part)
        return any_gone

    def _tell(self, receiver: Receiver, deliveries: Sequence[Any]) -> None:
        self._busy = True
        try:
            receiver.take(deliveries)
        except Exception:
            log.exception("a device could not be told")
        finally:
            self._busy = False


def _parts(deliveries: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Each by itself, those of one bundle together."""
    begin = 0
    while begin < len(deliveries):
        bundle = deliveries[begin][_BUNDLE]
        end = begin + 1
        if bundle:
            if deliveries[-1][_BUNDLE] == bundle:
                end = len(deliveries)
            while end < len(deliveries) and deliveries[end][_BUNDLE] == bundle:
                end += 1
        while begin < end:
            yield deliveries[begin : min(end, begin + BUNDLE_AT_ONCE)]
            begin += BUNDLE_AT_ONCE
        begin = end


def _key(batch: Sequence[Any]) -> _Key:
    """Of batches that wait: what is in one of them has no other's identity."""
    return id(batch[0]), id(batch[-1]), len(batch)


def _share(part: Sequence[Any]) -> int:
    """What each device takes for it."""
    return PART_BYTES + MEMBER_BYTES * len(part)


def _size(delivery: Any) -> int:
    """What all devices that have it take together."""
    return HEAD_BYTES + len(delivery[_FRAME])
