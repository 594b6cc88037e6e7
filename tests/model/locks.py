"""Locks between routers as a value, to be explored as `network` is: one param, its versions, who has it locked where.

Where a router between wrote last, and a link was cut before it had heard of a lock below, that lock holds above from
the holder's next write on: what comes back locked to where it was written is taken to have gone round a ring. So the
invariants about holders are asked where the holder or who decides wrote last.

The rules are those of the routers (dataplane/params.pyx, federation/shared/relay.pyx): a router tells the one above,
with each state, whether somebody has the param locked here; that one holds the lock for the link, and passes on what
has changed. Whoever has it locked for somebody else refuses by a later version, and says so; who has nobody above
decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

CLIENT = -1
"""In place of the link for which a lock is held: somebody has it locked here."""

NOBODY = -2

Version = tuple[int, int]
"""When it was assigned, and by which router."""


class Told(NamedTuple):
    """On its way. Up: a state, and whether it is locked there; down: a state, or (`refused`) that one was refused."""

    version: Version
    locked: bool = False
    refused: bool = False


class Place(NamedTuple):
    """A router: the version it has, and for whom the param is locked."""

    version: Version
    holder: int


class Link(NamedTuple):
    """From the router `box` to `hub`."""

    box: int
    hub: int
    is_up: bool
    up: tuple[Told, ...]
    down: tuple[Told, ...]


class Locks(NamedTuple):
    """Everything. `now` counts versions."""

    places: tuple[Place, ...]
    links: tuple[Link, ...]
    now: int

    # ---- what can happen ----

    def events(self) -> Iterator[tuple[str, Locks]]:
        """All that can happen next: a name, and what it leads to."""
        for number, place in enumerate(self.places):
            if place.holder == NOBODY:
                yield f"r{number} writes", self.write(number, NOBODY)
                yield f"r{number} locks", self.write(number, CLIENT)
            elif place.holder == CLIENT:
                yield f"r{number} writes on", self.write(number, CLIENT)
                yield f"r{number} unlocks", self.write(number, NOBODY)
                yield f"the holder at r{number} leaves", self._held(number, NOBODY)._told(number, None)
        for index, link in enumerate(self.links):
            name = f"r{link.box}-r{link.hub}"
            if not link.is_up:
                yield f"{name} comes up", self.heal(index)
                continue
            yield f"cut {name}", self.cut(index)
            if link.up:
                yield f"{name} carries up", self.carry_up(index)
            if link.down:
                yield f"{name} carries down", self.carry_down(index)

    def write(self, number: int, holder: int) -> Locks:
        """A client writes, and has it locked then or not."""
        now = self.now + 1
        return self._put(number, Place((now, number), holder))._replace(now=now)._told(number, None)

    def cut(self, index: int) -> Locks:
        """What was under way is lost; the hub lets go what it held for the link."""
        link = self.links[index]
        locks = self._link(index, link._replace(is_up=False, up=(), down=()))
        if locks.places[link.hub].holder == index:
            locks = locks._held(link.hub, NOBODY)._told(link.hub, None)
        return locks

    def heal(self, index: int) -> Locks:
        """Each end tells what it has."""
        link = self.links[index]
        box, hub = self.places[link.box], self.places[link.hub]
        up = Told(box.version, box.holder != NOBODY)
        return self._link(index, link._replace(is_up=True, up=(up,), down=(Told(hub.version),)))

    def carry_up(self, index: int) -> Locks:
        """The oldest message to the hub arrives."""
        link = self.links[index]
        told, number = link.up[0], link.hub
        locks = self._link(index, link._replace(up=link.up[1:]))
        place = locks.places[number]
        is_locked = place.holder not in (NOBODY, index)
        if told.version > place.version:
            if is_locked:
                now = locks.now + 1
                locks = locks._put(number, Place((now, number), place.holder))._replace(now=now)._told(number, None)
                back = locks.links[index]
                return locks._link(index, back._replace(down=(*back.down, Told((now, number), refused=True))))
            holder = locks._taken(number, index, told)
            return locks._put(number, Place(told.version, holder))._told(number, index)
        if told.locked and is_locked and (told.version[1] != number or locks.decides(number)):
            back = locks.links[index]
            return locks._link(index, back._replace(down=(*back.down, Told(place.version, refused=True))))
        holder = locks._taken(number, index, told)
        return locks._held(number, holder)._told(number, index) if holder != place.holder else locks

    def carry_down(self, index: int) -> Locks:
        """The oldest message to the box arrives."""
        link = self.links[index]
        told, number = link.down[0], link.box
        locks = self._link(index, link._replace(down=link.down[1:]))
        place = locks.places[number]
        if told.refused:
            if place.holder == NOBODY:
                return locks
            locks = locks._held(number, NOBODY)._told(number, None)
            if place.holder >= 0:  # whoever wrote it is below
                below = locks.links[place.holder]
                locks = locks._link(place.holder, below._replace(down=(*below.down, told)))
            return locks
        if told.version > place.version:
            return locks._put(number, place._replace(version=told.version))._told(number, index)
        return locks

    # ---- pieces ----

    def decides(self, number: int) -> bool:
        """Who has nobody above, whether or not the link is up."""
        return all(link.box != number for link in self.links)

    def _taken(self, number: int, index: int, told: Told) -> int:
        """For whom it is locked after that."""
        holder = self.places[number].holder
        if told.locked:
            is_round = told.version[1] == number and not self.decides(number)
            return index if holder == NOBODY and not is_round else holder
        return NOBODY if holder == index else holder

    def _told(self, number: int, source: int | None) -> Locks:
        """What is here is told by all links but the one it came by."""
        locks = self
        place = self.places[number]
        for index, link in enumerate(self.links):
            if index == source or not link.is_up:
                continue
            if link.box == number:
                locks = locks._link(index, link._replace(up=(*link.up, Told(place.version, place.holder != NOBODY))))
            elif link.hub == number:
                locks = locks._link(index, link._replace(down=(*link.down, Told(place.version))))
        return locks

    def _put(self, number: int, place: Place) -> Locks:
        return self._replace(places=(*self.places[:number], place, *self.places[number + 1 :]))

    def _held(self, number: int, holder: int) -> Locks:
        return self._put(number, self.places[number]._replace(holder=holder))

    def _link(self, index: int, link: Link) -> Locks:
        return self._replace(links=(*self.links[:index], link, *self.links[index + 1 :]))

    def at_peace(self) -> Locks | None:
        """All links up and everything delivered; None if that never ends."""
        locks = self
        for index, link in enumerate(locks.links):
            if not link.is_up:
                locks = locks.heal(index)
        for _ in range(500):
            busy = next((i for i, link in enumerate(locks.links) if link.up or link.down), None)
            if busy is None:
                return locks
            locks = locks.carry_up(busy) if locks.links[busy].up else locks.carry_down(busy)
        return None

    def broken(self) -> str:
        """Which invariant does not hold once there is peace; "" if all do."""
        after = self.at_peace()
        if after is None:
            return "it comes to rest"
        if len({place.version for place in after.places}) > 1:
            return "agreement"
        holders = [number for number, place in enumerate(after.places) if place.holder == CLIENT]
        if not holders and any(place.holder != NOBODY for place in after.places):
            return "a lock that nobody has holds nowhere"
        if any(after.decides(number) for number in range(len(after.places))):
            if len(holders) > 1 and after.decides(after.places[0].version[1]):
                return "one has it locked at most"
            root = next(number for number in range(len(after.places)) if after.decides(number))
            writer = after.places[root].version[1]
            if holders and after.places[root].holder == NOBODY and writer in (root, holders[0]):
                return "a lock holds where it is decided"
        return ""


def locks_of(links: tuple[tuple[int, int], ...]) -> Locks:
    """At the start: everything up, nothing locked."""
    count = 1 + max(max(link) for link in links)
    return Locks((Place((0, 0), NOBODY),) * count, tuple(Link(a, b, True, (), ()) for a, b in links), 0)


LOCK_TOPOLOGIES = {
    "hub and two boxes": ((1, 0), (2, 0)),
    "chain": ((0, 1), (1, 2)),
    "chain, and a box at its end": ((0, 1), (1, 2), (3, 2)),
    "ring": ((0, 1), (1, 2), (2, 0)),
}


def explore_locks(start: Locks, depth: int) -> tuple[int, str]:
    """How many states there are up to this depth, and the first trace that breaks an invariant."""
    seen = {start}
    frontier: list[tuple[Locks, tuple[str, ...]]] = [(start, ())]
    for _ in range(depth):
        following: list[tuple[Locks, tuple[str, ...]]] = []
        for state, trace in frontier:
            for name, after in state.events():
                if after in seen:
                    continue
                seen.add(after)
                path = (*trace, name)
                if why := after.broken():
                    return len(seen), f"{why}: {', '.join(path)}"
                following.append((after, path))
        frontier = following
    return len(seen), ""
