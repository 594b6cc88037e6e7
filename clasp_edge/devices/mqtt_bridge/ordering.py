"""The events of other bridges, each once and in the order in which it was sent, whatever a broker makes of them.

A broker that is not sure says a message again, and one that has failed over may say older messages behind newer ones.
The numbers of a sender follow each other without a gap: what comes too early is held until the rest is there, for
`HOLD_S` at most. Knows neither messages nor clocks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

HOLD_S = 10.0
"""What is still missing then is taken for lost, and named: a cue must not wait for ever for one that nobody has."""

MOST_HELD_BYTES = 4 << 20
"""Of all senders together: then nothing of the one whose message has come now waits any longer."""

MOST_MISSING = 512
"""Of one sender, remembered so that they are taken when they come after all; some 60 bytes each."""

MOST_BEFORE = 256
"""More than a sender has under way: what may come behind the first message that is heard of it."""

MOST_SENDERS = 256

T = TypeVar("T")

Sender = tuple[str, int]
"""A bridge in its process, and the map by which it has come here."""


@dataclass
class _Line(Generic[T]):
    next: int
    held: dict[int, tuple[T, int]] = field(default_factory=dict)
    held_bytes: int = 0
    since_s: float = 0.0  # when the first of them was held
    missing: set[int] = field(default_factory=set)  # given up, and yet to come perhaps


class Ordering(Generic[T]):
    """Of one bridge."""

    def __init__(self) -> None:
        self._lines: OrderedDict[Sender, _Line[T]] = OrderedDict()
        self._held_bytes = 0

    def arrived(self, sender: Sender, number: int, message: T, size: int, now_s: float) -> list[T]:
        """What is to be taken now, in this order. `size`: bytes that it takes while it is held."""
        line = self._lines.get(sender)
        if line is None:
            forgotten = self._forget_one() if len(self._lines) >= MOST_SENDERS else []
            # Nobody knows what went before. What comes of it late is taken all the same.
            before = set(range(max(1, number - MOST_BEFORE), number))
            self._lines[sender] = _Line(number + 1, missing=before)
            return [*forgotten, message]
        if len(self._lines) > 1:
            self._lines.move_to_end(sender)
        if number < line.next:
            if number not in line.missing:
                return []
            line.missing.discard(number)
            return [message]
        if number > line.next:
            if number not in line.held:
                if not line.held:
                    line.since_s = now_s
                line.held[number] = message, size
                line.held_bytes += size
                self._held_bytes += size
            return self._all_given_up(line) if self._held_bytes > MOST_HELD_BYTES else []
        line.next += 1
        return [message, *self._following(line, now_s)] if line.held else [message]

    def expired(self, now_s: float) -> tuple[list[T], int]:
        """What has been held too long, to be taken now, and how many messages before it are missing."""
        found: list[T] = []
        lost = 0
        for line in self._lines.values():
            if line.held and now_s - line.since_s >= HOLD_S:
                lost += min(line.held) - line.next
                found += self._given_up(line)
                line.since_s = now_s
        return found, lost

    @property
    def holds(self) -> bool:
        """Whether anything waits for what went before it."""
        return any(line.held for line in self._lines.values())

    def _forget_one(self) -> list[T]:
        """Make room for a sender: what the one that has been silent longest has waiting, waits no longer."""
        _, line = self._lines.popitem(last=False)
        self._held_bytes -= line.held_bytes
        return [line.held[number][0] for number in sorted(line.held)]

    def _following(self, line: _Line[T], now_s: float) -> list[T]:
        found: list[T] = []
        while (held := line.held.pop(line.next, None)) is not None:
            found.append(held[0])
            line.held_bytes -= held[1]
            self._held_bytes -= held[1]
            line.next += 1
        if found:
            line.since_s = now_s
        return found

    def _given_up(self, line: _Line[T]) -> list[T]:
        first = min(line.held)
        _miss(line, range(max(line.next, first - MOST_MISSING), first))
        line.next = first
        return self._following(line, line.since_s)

    def _all_given_up(self, line: _Line[T]) -> list[T]:
        """Also what lies behind more gaps than one: each of them may hold as much as it likes."""
        numbers = sorted(line.held)
        end = numbers[-1] + 1
        _miss(line, (n for n in range(max(line.next, end - 2 * MOST_MISSING), end) if n not in line.held))
        found = [line.held[number][0] for number in numbers]
        line.held.clear()
        self._held_bytes -= line.held_bytes
        line.held_bytes = 0
        line.next = end
        return found


def _miss(line: _Line[T], numbers: Iterable[int]) -> None:
    line.missing.update(numbers)
    if len(line.missing) > MOST_MISSING:
        line.missing = set(sorted(line.missing)[-MOST_MISSING:])
