"""Addresses that box and hub have both written to, where no version tells who was later: what the hub has is asked for.

Of a hub without versions. Knows nothing of how writes are told.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from clasp_edge.federation.shared.waiting_frames import GONE_TTL
from clasp_edge.wire import MAX_ADDRESS_BYTES, Get, encode

if TYPE_CHECKING:
    from clasp_edge.federation.upstream.hub_session import HubSession

MOST_CONTESTED = 20_000
"""A hub that has refused so many and said of none what it has will not; the states are compared again then."""

ASKED_AT_ONCE = 256
"""Before others get their turn."""


class Contested:
    """Of one connection. A `gone` one is gone here too, if the hub turns out to have none."""

    def __init__(self, session: HubSession) -> None:
        self._session = session
        self._waiting: dict[bytes, bool] = {}
        self._asked: dict[bytes, bool] = {}

    def add(self, address: bytes, *, gone: bool | None = None) -> None:
        """Who was later is not known. `gone` None leaves that as it was said before."""
        if address in self._waiting:
            if gone is not None:
                self._waiting[address] = gone
        elif len(self._waiting) + len(self._asked) >= MOST_CONTESTED:
            self._session.link.close("the hub does not say what it has where it has refused params")
        elif len(address) <= MAX_ADDRESS_BYTES:
            self._waiting[address] = bool(gone)

    def ask(self) -> None:
        """The hub has got as far as all that was told it up to now."""
        sender = self._session.owner.sender
        ready = list(islice((one for one in self._waiting if not sender.is_in_flight(one)), ASKED_AT_ONCE))
        for address in ready:
            self._asked[address] = self._waiting.pop(address)
        self._session.link.send([encode(Get(address.decode("utf-8", "replace"))) for address in ready])
        if len(ready) == ASKED_AT_ONCE:
            self._session.timers.start("ask", 0.0, self.ask)

    def is_asked(self, address: bytes) -> bool:
        """Whether something that is said of it is the answer."""
        return address in self._asked

    def answer(self, address: bytes, value_type: int, value: bytes, ttl: int) -> bool:
        """What the hub has at an address that was asked for: that is the later write. False: not yet."""
        session = self._session
        gone_here_too = self._asked.pop(address)
        if session.owner.sender.is_in_flight(address):
            self._waiting[address] = gone_here_too
            return False
        held = session.owner.sender.held(address)
        if ttl == GONE_TTL:
            news = held is not None and gone_here_too
        else:
            news = held is None or held[:2] != (value_type, value)
        if news:
            session.apply(address, value_type, value, ttl)
        return True
