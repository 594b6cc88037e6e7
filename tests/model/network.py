"""A network of routers as a value: what each has, what is under way on each link, and what can happen next.

Small enough to be explored, and with the rules that the routers have: a write gets a version, a link carries it,
whoever hears of it keeps the later one and passes it on; when a link comes up, each end tells what it has, and an owner
overrules what was written while it was away. Versions are those of `federation.shared.versions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from clasp_edge.federation.shared.versions import Version, next_hlc, over, overruling

GONE = -1
"""In place of a value: a tombstone."""


class Held(NamedTuple):
    """A param at one router."""

    version: Version
    value: int


class Message(NamedTuple):
    """On its way over a link. `sync`: told because the link came up."""

    param: int
    held: Held
    sync: bool


class Link(NamedTuple):
    """From a box to its hub. `up[0]` is on its way to the hub, `up[1]` to the box."""

    box: int
    hub: int
    is_up: bool
    ways: tuple[tuple[Message, ...], tuple[Message, ...]]


class Router(NamedTuple):
    """`params` by number, None where nothing was ever; `last` is its clock's latest; `backup` what was put aside."""

    params: tuple[Held | None, ...]
    last: int
    backup: tuple[Held | None, ...] | None


class Network(NamedTuple):
    """Everything. `now` is the time, `owners` who owns each param (None: nobody)."""

    routers: tuple[Router, ...]
    links: tuple[Link, ...]
    owners: tuple[int | None, ...]
    now: int
    skew: tuple[int, ...]

    # ---- what can happen ----

    def events(self, writers: tuple[int, ...]) -> Iterator[tuple[str, Network]]:
        """All that can happen next: a name, and what it leads to."""
        for number in writers:
            for param in range(len(self.owners)):
                yield f"r{number} writes p{param}", self.write(number, param, self.now)
                held = self.routers[number].params[param]
                if held is not None and held.value != GONE:
                    yield f"r{number} clears p{param}", self.write(number, param, GONE)
                    yield f"p{param} is over at r{number}", self.expire(number, param)
            router = self.routers[number]
            if router.backup is None:
                yield f"backup of r{number}", self.with_router(number, router._replace(backup=router.params))
            else:
                yield f"r{number} restored", self.restart(number, router.backup)
            yield f"r{number} restarts", self.restart(number, router.params)
        for index, link in enumerate(self.links):
            if link.is_up:
                yield f"cut r{link.box}-r{link.hub}", self.cut(index)
                for way in (0, 1):
                    if link.ways[way]:
                        yield f"r{link.box}-r{link.hub} carries {way}", self.deliver(index, way)
            else:
                yield f"r{link.box}-r{link.hub} comes up", self.heal(index)

    def write(self, number: int, param: int, value: int) -> Network:
        """A client writes, or (GONE) clears."""
        router = self.routers[number]
        held = router.params[param]
        hlc = next_hlc(self.now * 1000 + self.skew[number], router.last) | (value == GONE)
        version = Version(held.version.epoch if held is not None else 0, hlc, number + 1)
        return self._take(number, param, Held(version, value), None)._replace(now=self.now + 1)

    def expire(self, number: int, param: int) -> Network:
        """The param's time is over here. Nobody is told: each comes to it by itself, or finds it by digest."""
        held = self.routers[number].params[param]
        assert held is not None
        return self._put(number, param, Held(over(held.version), GONE))

    def restart(self, number: int, params: tuple[Held | None, ...]) -> Network:
        """Stopped and started with what is stored. Its links are gone."""
        last = max((held.version.hlc for held in params if held is not None), default=0)
        network = self.with_router(number, self.routers[number]._replace(params=params, last=last))
        for index, link in enumerate(network.links):
            if number in (link.box, link.hub) and link.is_up:
                network = network.cut(index)
        return network

    def cut(self, index: int) -> Network:
        """What was under way is lost."""
        return self.with_link(index, self.links[index]._replace(is_up=False, ways=((), ())))

    def heal(self, index: int) -> Network:
        """The link is up: each end tells what the other one's digest shows not to be there."""
        link = self.links[index]
        box, hub = self.routers[link.box].params, self.routers[link.hub].params
        ways = tuple(
            tuple(
                Message(param, held, True)
                for param, held in enumerate(here)
                if held is not None and held != there[param]
            )
            for here, there in ((box, hub), (hub, box))
        )
        return self.with_link(index, link._replace(is_up=True, ways=(ways[0], ways[1])))

    def deliver(self, index: int, way: int) -> Network:
        """The oldest message of a way arrives."""
        link = self.links[index]
        message, *rest = link.ways[way]
        ways = (tuple(rest), link.ways[1]) if way == 0 else (link.ways[0], tuple(rest))
        network = self.with_link(index, link._replace(ways=ways))
        number = link.hub if way == 0 else link.box
        ours = self.routers[number].params[message.param]
        theirs = message.held
        if ours is not None and (theirs.version, theirs.value) <= (ours.version, ours.value):
            return network
        owned = self.owners[message.param] == number
        contested = ours is not None and ours.value != theirs.value and over(ours.version) != theirs.version
        if message.sync and way == 1 and owned and ours is not None and contested:
            clock_us = self.now * 1000 + self.skew[number]
            last = network.routers[number].last
            version = overruling(ours.version, theirs.version, clock_us, last, number + 1, raise_epoch=True)
            return network._take(number, message.param, Held(version, ours.value), None)
        return network._take(number, message.param, theirs, index)

    # ---- pieces ----

    def _take(self, number: int, param: int, held: Held, source: int | None) -> Network:
        """A router has something new: all its links but the one it came by are told."""
        network = self._put(number, param, held)
        for index, link in enumerate(network.links):
            if index == source or not link.is_up or number not in (link.box, link.hub):
                continue
            message = Message(param, held, False)
            up, down = link.ways
            ways = ((*up, message), down) if number == link.box else (up, (*down, message))
            network = network.with_link(index, link._replace(ways=ways))
        return network

    def _put(self, number: int, param: int, held: Held) -> Network:
        router = self.routers[number]
        params = (*router.params[:param], held, *router.params[param + 1 :])
        return self.with_router(number, router._replace(params=params, last=max(router.last, held.version.hlc)))

    def with_router(self, number: int, router: Router) -> Network:
        return self._replace(routers=(*self.routers[:number], router, *self.routers[number + 1 :]))

    def with_link(self, index: int, link: Link) -> Network:
        return self._replace(links=(*self.links[:index], link, *self.links[index + 1 :]))

    def at_peace(self) -> Network:
        """All links up, digests compared until they are equal, everything delivered."""
        network = self
        for _ in range(4):
            for index, link in enumerate(network.links):
                if not link.is_up:
                    network = network.heal(index)
            network = network._drained()
            # The digests are compared now and then while the link is up; then nobody overrules any more.
            for index, link in enumerate(network.links):
                healed = network.heal(index).links[index]
                ways = tuple(tuple(message._replace(sync=False) for message in way) for way in healed.ways)
                network = network.with_link(index, link._replace(is_up=True, ways=(ways[0], ways[1])))
            network = network._drained()
        return network

    def _drained(self) -> Network:
        network = self
        while True:
            busy = next(((i, way) for i, link in enumerate(network.links) for way in (0, 1) if link.ways[way]), None)
            if busy is None:
                return network
            network = network.deliver(*busy)


def network(
    links: tuple[tuple[int, int], ...], owners: tuple[int | None, ...], skew: tuple[int, ...] | None = None
) -> Network:
    """At the start: everything up, nothing written."""
    count = 1 + max(max(link) for link in links)
    routers = tuple(Router((None,) * len(owners), 0, None) for _ in range(count))
    return Network(routers, tuple(Link(a, b, True, ((), ())) for a, b in links), owners, 1, skew or (0,) * count)
