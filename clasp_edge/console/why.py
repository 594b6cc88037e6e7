"""Why a value does not arrive: the way of one address through this router, as sentences (`clasp-edge why ADDRESS`).

    {"address": "/lamp/1", "findings": [{"about": "param", "well": true, "text": "is 0.5, written by desk 3 s ago"}]}

Who has written it, who is told, which links carry it, which rules look at it; each part of the process adds what it
knows (`daemon.part.Part.explain`). Made when somebody asks, and loaded then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from clasp_edge.console.requests import Refused
from clasp_edge.dataplane.browse import addresses_with
from clasp_edge.router.router import Router
from clasp_edge.router.session import Session
from clasp_edge.wire import Snapshot, WireError, decode_payload, decode_value
from clasp_edge.wire.address import AddressError, validate_address
from clasp_edge.wire.pattern import Pattern

MOST_SUBSCRIBERS = 50
"""Named one by one."""

MOST_SIMILAR = 8
LOOKS = 20_000
"""Addresses looked at for similar ones: a millisecond."""

LONGEST_VALUE = 120
SNAPSHOT_BYTES = 60_000


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
        findings = [*self._param(address), *self._told(address)]
        for explain in self._explains:
            findings += explain(address)
        return {"address": text, "findings": [finding._asdict() for finding in findings]}

    def _param(self, address: bytes) -> Iterable[Finding]:
        plane = self._router.plane
        described = plane.describe(address)
        if described is None:
            yield Finding("param", False, "nobody has written it here, or it was forgotten")
            segment = address.rpartition(b"/")[2]
            similar, _ = addresses_with(plane, segment, b"", MOST_SIMILAR, LOOKS) if segment else ([], b"")
            if similar:
                names = ", ".join(each.decode("utf-8", "replace") for each in similar)
                yield Finding("param", None, f"addresses like it: {names}")
            return
        revision, kind, value, holder, _ = described
        writer, age_s = self._written(address)
        by = f", written by {self._name(writer)}" if writer else ""
        age = f" {age_s:.1f} s ago" if age_s is not None else ""
        yield Finding("param", True, f"is {_shown(kind, value)} (revision {revision}){by}{age}")
        if holder:
            yield Finding("param", False, f"is locked by {self._name(holder.decode())}: what others write is refused")

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
        for subscription in self._router.plane.trie.matching(address):
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
            if away:
                yield Finding(about, False, f"is subscribed by {pattern} and is away")
            elif sink.pressed:
                yield Finding(about, False, f"is subscribed by {pattern} and reads too slowly")
            else:
                yield Finding(about, True, f"is told: subscribed by {pattern}")
        if count > MOST_SUBSCRIBERS:
            yield Finding("clients", None, f"and {count - MOST_SUBSCRIBERS} more are subscribed")
        if not count:
            yield Finding("clients", None, "no CLASP or MQTT client here is subscribed to it")


def _shown(kind: int, value: bytes) -> str:
    try:
        text = msgspec.json.encode(decode_value(kind, value)).decode()
    except (WireError, TypeError, msgspec.MsgspecError):
        text = f"{len(value)} bytes"
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
