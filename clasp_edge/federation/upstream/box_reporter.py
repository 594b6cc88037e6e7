"""Tells hubs how this box is: its own params, as they change, and a summary of its status.

One collector for all uplinks hears of every param below /clasp-edge/; each uplink tells its hub what has changed since
it told last, at most every REPORT_S. Where no hub listens, what is gathered is one dictionary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from clasp_edge.dataplane import Adapter, Plane, Sink, Subscription
from clasp_edge.dataplane.reserved import RESERVED
from clasp_edge.federation.shared.box_report import LISTEN, MAX_BOX_BYTES, box_frames, is_told, size_of
from clasp_edge.federation.shared.status import TTL_OVER
from clasp_edge.wire import Set, Snapshot, Ttl, Value, WireError, decode, decode_payload
from clasp_edge.wire.pattern import Pattern

log = logging.getLogger("clasp_edge.uplink")

REPORT_S = 2.0
"""A person who looks at the hub's page waits so long for what has changed on a box."""

SUMMARY_S = 10.0

MAX_BACKLOG_BYTES = 65_536
"""While so much waits for the link, how the box is can wait as well."""

OVER = Ttl.from_word(TTL_OVER)
PARAMS_ONLY = 1
PIECE_BYTES = 60_000
SCAN = 5_000

Summary = Callable[[], tuple[list[str], Mapping[str, Value]]]
"""The addresses that this router is bound to, and what is told of it below `box/`."""


class BoxCollector(Adapter):
    """`BoxCollector(plane)`: what this router says of itself, by key."""

    def __init__(self, plane: Plane, *args: object) -> None:
        self.told: dict[str, Value] = {}
        self._size = 0
        self._subscription = Subscription(self, 0, Pattern(RESERVED + b"**"), PARAMS_ONLY)

    def open(self) -> None:
        """Begin to gather."""
        self.plane.register(self, b"box-report")
        self.plane.trie.add(self._subscription)
        cursor = b""
        while True:
            payload, cursor = self.plane.snapshot(Pattern(RESERVED + b"**"), None, cursor, PIECE_BYTES, SCAN)
            message = decode_payload(payload) if payload is not None else None
            for param in message.params if isinstance(message, Snapshot) else ():
                self._take(param.address, param.value)
            if not cursor:
                break

    def close(self) -> None:
        """Gather no more."""
        self.plane.trie.discard(self._subscription)
        self.plane.unregister(self)
        self.told.clear()

    def on_deliveries(self, deliveries: list[tuple[Sink, int, bytes]]) -> None:
        for _, _, frame in deliveries:
            try:
                message = decode(frame)[1]
            except WireError:
                continue
            if isinstance(message, Set):
                self._take(message.address, None if message.ttl == OVER else message.value)

    def _take(self, address: str, value: Value) -> None:
        key = address.removeprefix(RESERVED.decode())
        if not is_told(key):
            return
        before = self.told.pop(key, None)
        if before is not None:
            self._size -= size_of(key, before)
        if value is None or isinstance(value, bytes) or (value == "" and key.startswith("rules/")):
            return
        size = size_of(key, value)
        # No more than a hub shows; what came first stays.
        if self._size + size <= MAX_BOX_BYTES:
            self._size += size
            self.told[key] = value


class BoxReporter:
    """One link's. `begin` when it is up; `tick` every second; `send(frames)` and `backlog()` are the link's."""

    def __init__(self, collector: BoxCollector, summary: Summary, monotonic_s: Callable[[], float]) -> None:
        self._collector = collector
        self._summary = summary
        self._monotonic_s = monotonic_s
        self._known: dict[str, Value] | None = None
        self._due_s = self._summary_due_s = 0.0
        self._box: dict[str, Value] = {}

    def begin(self) -> None:
        """A hub knows nothing of us."""
        self._known = None
        self._due_s = self._summary_due_s = 0.0

    def tick(self, send: Callable[[list[bytes]], None], backlog: int) -> None:
        """Tell what has changed, if it is time."""
        now_s = self._monotonic_s()
        if now_s < self._due_s or backlog > MAX_BACKLOG_BYTES:
            return
        self._due_s = now_s + REPORT_S
        if now_s >= self._summary_due_s:
            self._summary_due_s = now_s + SUMMARY_S
            listen, box = self._summary()
            self._box = {LISTEN: listen} | {f"box/{key}": value for key, value in box.items()}
        told = self._box | self._collector.told
        known = self._known
        changed = {key: value for key, value in told.items() if known is None or known.get(key) != value}
        if known is not None:
            changed |= dict.fromkeys(known.keys() - told.keys())
        if frames := box_frames(changed, whole=known is None) if changed or known is None else []:
            send(frames)
        self._known = told
