"""`make model`: every sequence of events up to a depth, from each topology. Ends with 1 at a broken invariant.

Invariants, of what every router has once there is peace (all links up, digests equal, nothing under way):
- agreement: all have the same, value and version;
- nothing comes back: what stands is not older than what any router had before there was peace;
- the owner is not overruled by the past: a param that only its owner has written, and no older backup was put back, is
  as its owner has it.

And of locks (`locks`): everything comes to rest, all agree, what nobody has locked is locked nowhere; where who decides
or the holder wrote last, one has it locked at most, and it holds where it is decided.
"""

from __future__ import annotations

import argparse
import sys
import time

from model.locks import LOCK_TOPOLOGIES, explore_locks, locks_of
from model.network import Network, network

TOPOLOGIES = {
    "hub and two boxes": (((1, 0), (2, 0)), (1, None), None),
    "chain": (((0, 1), (1, 2)), (0, None), None),
    "ring": (((0, 1), (1, 2), (2, 0)), (0, None), None),
    "two hubs": (((1, 0), (2, 0), (2, 1)), (2, None), None),
    "hub and two boxes, a clock ahead": (((1, 0), (2, 0)), (1, None), (0, 0, 3500)),
}
"""Links from a box to its hub; the owner of each param; how far each clock is ahead."""


def broken(before: Network, trace: tuple[str, ...]) -> str:
    """Which invariant does not hold; "" if all do."""
    after = before.at_peace()
    first = after.routers[0].params
    if any(router.params != first for router in after.routers):
        return "agreement"
    for param, held in enumerate(first):
        known = [router.params[param] for router in before.routers if router.params[param] is not None]
        if known and (held is None or held.version < max(one.version for one in known if one is not None)):
            return "nothing comes back"
        owner = before.owners[param]
        if owner is None or any("restored" in event for event in trace):
            continue
        others = any(
            f"r{n} {verb} p{param}" in trace
            for n in range(len(before.routers))
            if n != owner
            for verb in ("writes", "clears")
        )
        over = any(event.startswith(f"p{param} is over") for event in trace)
        if not others and not over and held != before.routers[owner].params[param]:
            return "the owner is not overruled by the past"
    return ""


def explore(start: Network, depth: int) -> tuple[int, str]:
    """How many states there are up to this depth, and the first trace that breaks an invariant."""
    writers = tuple(range(len(start.routers)))
    seen = {start}
    frontier: list[tuple[Network, tuple[str, ...]]] = [(start, ())]
    for _ in range(depth):
        following: list[tuple[Network, tuple[str, ...]]] = []
        for state, trace in frontier:
            for name, after in state.events(writers):
                if after in seen:
                    continue
                seen.add(after)
                path = (*trace, name)
                if why := broken(after, path):
                    return len(seen), f"{why}: {', '.join(path)}"
                following.append((after, path))
        frontier = following
    return len(seen), ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="model", description=__doc__)
    parser.add_argument("--depth", type=int, default=4)
    options = parser.parse_args()
    failed = 0
    for name, (links, owners, skew) in TOPOLOGIES.items():
        began_s = time.monotonic()
        states, why = explore(network(links, owners, skew), options.depth)
        print(f"{name}: depth {options.depth}, {states} states, {time.monotonic() - began_s:.0f} s", flush=True)
        if why:
            failed = 1
            print(f"  BROKEN {why}")
    for name, lock_links in LOCK_TOPOLOGIES.items():
        began_s = time.monotonic()
        states, why = explore_locks(locks_of(lock_links), options.depth)
        print(f"locks, {name}: depth {options.depth}, {states} states, {time.monotonic() - began_s:.0f} s", flush=True)
        if why:
            failed = 1
            print(f"  BROKEN {why}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
