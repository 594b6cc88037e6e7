"""What is looked at in every random history: a router's state, where states differ, and the events in a journal."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import pairwise

from outages.network import Client, Router

NONE = "(none)"

ANSWER_S = 60.0
"""A router that others leave no processor may take as long to show its state; that is no disagreement."""

State = Mapping[str, object]


async def state_of(router: Router) -> dict[str, object]:
    """All params of a router; something that no other one has where it does not answer."""
    until_s = time.monotonic() + ANSWER_S
    while time.monotonic() < until_s:
        with contextlib.suppress(OSError, TimeoutError):
            client = await Client(router.tcp).open()
            try:
                return await client.params()
            finally:
                client.close()
        await asyncio.sleep(0.1)
    return {"(no answer)": router.name}


def where_different(states: Mapping[str, State]) -> dict[str, dict[str, object]]:
    """By address, what each router has, where they have not all the same."""
    addresses = {address for state in states.values() for address in state}
    found = {address: {name: state.get(address, NONE) for name, state in states.items()} for address in addresses}
    return {address: values for address, values in found.items() if len(set(map(repr, values.values()))) > 1}


def twice(found: Sequence[object]) -> list[str]:
    """The events that are there more than once."""
    return [value for value, count in Counter(map(repr, found)).items() if count > 1]


def out_of_order(found: Sequence[object]) -> list[tuple[int, int]]:
    """Neighbours of which the later one was said before."""
    return [pair for pair in pairwise(_numbers(found)) if pair[1] < pair[0]]


def lacking(found: Sequence[object], wanted: Set[int]) -> list[int]:
    """What is not there."""
    return sorted(wanted - set(_numbers(found)))


def _numbers(found: Sequence[object]) -> Iterator[int]:
    return (abs(value) for value in found if isinstance(value, int))
