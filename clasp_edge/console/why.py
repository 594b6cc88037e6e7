"""Why a value does not arrive: the way of one address through this router, as sentences (`clasp-edge why ADDRESS`).

    {"address": "/lamp/1", "findings": [{"about": "param", "well": true, "text": "is 0.5, written by desk 3 s ago"}]}

Who has written it, who is told, which links carry it, which rules look at it; each part of the process adds what it
knows (`daemon.part.Part.explain`). Made when somebody asks, and loaded then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from clasp_edge.console import why_clients
from clasp_edge.console.requests import Refused
from clasp_edge.dataplane.browse import addresses_with
from clasp_edge.dataplane.reserved import RESERVED
from clasp_edge.router.router import Router
from clasp_edge.router.session import Session
from clasp_edge.wire import SignalType, Snapshot, WireError, decode_payload, decode_value
from clasp_edge.wire.address import AddressError, validate_address
from clasp_edge.wire.pattern import Pattern

MOST_SUBSCRIBERS = 50
"""Named one by one."""

MOST_SIMILAR = 8
LOOKS = 20_000
"""Addresses looked at for similar ones: a millisecond."""

LONGEST_VALUE = 120
SNAPSHOT_BYTES = 60_000

_PARAMS = 1 << SignalType.PARAM
"""In the mask of a subscription."""

_KINDS = ("null", "bool", *["int"] * 4, *["float"] * 2, "text", "bytes", "list", "map")
"""Names of the types of values, as the page has them (wire.md 2.2)."""


class Finding(NamedTuple):
    """`well` is False for what may be the reason, None for what is neither. `about` is who or what it is about."""

    about: str
    well: bool | None
    text: str


Explain = Callable[[bytes], Iterable[Finding]]


class Why:
    """The request `why`. `explains` are what the parts know."""

    def __init__(self, router: Router, explains: Iterable[Explain]) -> None:
        self._router = router
        self._explains = list(explains)

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """`{"request": "why", "address": "/lamp/1"}`. Raises Refused."""
        text = request.get("address")
        if not isinstance(text, str):
            raise Refused("bad-request", 'why needs "address"')
        address = text.encode(errors="replace")
        try:
            validate_address(address)
        except AddressError as error:
            raise Refused("bad-address", str(error)) from None
        written = self._router.plane.describe(address) is not None
        writer = self._written(address)[0] if written else None
        findings = [*self._param(address), *self._refused(text)]
        told = (why_clients.too_fast(self._router, writer), why_clients.too_early(self._router, address))
        findings += [Finding(*each) for several in told for each in several]
        findings += self._told(address)
        for explain in self._explains:
            findings += explain(address)
        return {"address": text, "findings": [finding._asdict() for finding in findings]}

    def _param(self, address: bytes) -> Iterable[Finding]:
        plane = self._router.plane
        described = plane.describe(address)
        if described is None:
            yield Finding("param", False, "nobody has written it here, or it was forgotten")
            ending = b"/" + address.rpartition(b"/")[2]
            found, _ = addresses_with(plane, ending, b"", LOOKS, LOOKS)
            similar = [each for each in found if each.endswith(ending) and not each.startswith(RESERVED)]
            for each in similar[:MOST_SIMILAR]:
                yield Finding("address like it", None, self._similar(each))
            return
        revision, kind, value, holder, _ = described
        writer, age_s = self._written(address)
        by = f", written by {self._name(writer)}" if writer else ""
        age = f" {age_s:.1f} s ago" if age_s is not None else ""
        yield Finding("param", True, f"is {_shown(kind, value)} ({_kind(kind)}, revision {revision}){by}{age}")
        if holder:
            yield Finding("param", False, f"is locked by {self._name(holder.decode())}: what others write is refused")

    def _similar(self, address: bytes) -> str:
        """An address, and who has written there: perhaps it was meant."""
        writer, age_s = self._written(address)
        age = f", written {age_s:.1f} s ago" if age_s is not None else ""
        return f"{address.decode('utf-8', 'replace')}{age}" + (f" by {self._name(writer)}" if age and writer else "")

    def _refused(self, address: str) -> Iterable[Finding]:
        """Whoever was refused there lately: the newest of each."""
        now_us = self._router.clock.wall_us()
        seen = set()
        for (name, remote, code, text), at_us in reversed(self._router.refusals.items()):
            if text.endswith(f": {address}") and remote not in seen and now_us - at_us < why_clients.RECENT_US:
                seen.add(remote)
                said = text.removesuffix(f": {address}")
                told = f"was refused {(now_us - at_us) / 1e6:.1f} s ago: {said} ({code})"
                yield Finding(f"client {name or '?'} ({remote})", False, told)

    def _written(self, address: bytes) -> tuple[str, float | None]:
        """By whom, and how many seconds ago."""
        # Not as GET reads it: to look is no use of a param that is forgotten when it is not used.
        frame, _ = self._router.plane.snapshot(Pattern(address), None, b"", SNAPSHOT_BYTES, 1)
        if frame is None:
            return "", None
        try:
            message = decode_payload(frame)
        except WireError:
            return "", None
        if not isinstance(message, Snapshot) or not message.params:
            return "", None
        param = message.params[0]
        age_s = None if not param.timestamp else max(0.0, (self._router.clock.wall_us() - param.timestamp) / 1e6)
        return param.writer or "", age_s

    def _name(self, writer: str) -> str:
        """A session by its name, if it is here; others go by what they are called."""
        session = self._router.sessions.get(writer)
        if session is not None:
            return f"{session.name or '?'} ({session.link.remote})"
        # A session's id has the form of a UUID.
        return f"a client that has gone ({writer[:8]})" if len(writer) == 36 and writer.count("-") == 4 else writer

    def _told(self, address: bytes) -> Iterable[Finding]:
        """Clients that are subscribed; links, rules and devices tell of themselves."""
        count = 0
        seen = set()
        # A client that asks for params by one subscription and for events by another is told.
        matching = sorted(self._router.plane.trie.matching(address), key=lambda each: not each.mask & _PARAMS)
        for subscription in matching:
            sink: Any = subscription.sink
            if id(sink) in seen:
                continue
            seen.add(id(sink))
            pattern = subscription.pattern.text.decode("utf-8", "replace")
            if isinstance(sink, Session):
                name, remote = sink.name or "?", sink.link.remote
                about, away = f"client {name} ({remote})", False
            elif isinstance(device := getattr(sink, "client_id", None), str):
                about, away = f"mqtt client {device}", getattr(sink, "connection", None) is None
            else:
                continue
            count += 1
            if count > MOST_SUBSCRIBERS:
                continue
            if not subscription.mask & _PARAMS:
                yield Finding(about, False, f"is subscribed by {pattern}, but not to params: values do not go there")
            elif away:
                yield Finding(about, False, f"is subscribed by {pattern} and is away")
            elif sink.pressed:
                yield Finding(about, False, f"is subscribed by {pattern} and reads too slowly")
            else:
                yield Finding(about, True, f"is told: subscribed by {pattern}")
        if count > MOST_SUBSCRIBERS:
            yield Finding("clients", None, f"and {count - MOST_SUBSCRIBERS} more are subscribed")
        if not count:
            yield Finding("clients", None, "no CLASP or MQTT client here is subscribed to it")
            for each in why_clients.listening_elsewhere(self._router, address):
                yield Finding(*each)


def _kind(kind: int) -> str:
    return _KINDS[kind] if kind < len(_KINDS) else str(kind)


def _shown(kind: int, value: bytes) -> str:
    try:
        text = msgspec.json.encode(decode_value(kind, value)).decode()
    except (WireError, TypeError, msgspec.MsgspecError):
        text = f"{len(value)} bytes"
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
