"""Many boxes back at once: what a hub spends on giving each of them the events that have waited for it.

Responsible for: boxes as plain connections in this process, which acknowledge what they get. The figures go with the
number of boxes, not with its square: `python -m benchmarks.boxes_back [COUNT ...]`.
"""

from __future__ import annotations

import selectors
import socket
import struct
import sys
import time
from pathlib import Path

from benchmarks.footprint import _cpu_s, _status
from benchmarks.processes import ours, running
from clasp_edge.federation.shared.extensions import checkpoint_frame, follow_frame, peer_frame, stored_frame
from clasp_edge.wire import FederationOp, FederationSync, Hello, MessageType, Publish, SignalType, encode

FEATURES = ("param", "event", "stream", "gesture", "timeline", "federation")
TIMEOUT_S = 120.0
_POINT = checkpoint_frame(0)[4:-8]


class Box:
    """One that owns /box/NUMBER and follows; `events` counts what it has heard."""

    def __init__(self, port: int, number: int) -> None:
        self.events = 0
        self.ready = False
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._left = b""
        name, owns = f"box-{number}", (f"/box/{number}", f"/box/{number}/**")
        self.send(encode(Hello(1, name, FEATURES)), peer_frame(name, 1, owns, link=1))
        self._then = (
            follow_frame({}),
            encode(FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=owns, origin=name)),
            encode(FederationSync(FederationOp.REQUEST_SYNC, patterns=owns, origin=name)),
        )

    def send(self, *frames: bytes) -> None:
        _send(self.socket, *frames)

    def read(self) -> None:
        """What has come."""
        data = self._left + self.socket.recv(1 << 20)
        at, stored = 0, -1
        while len(data) - at >= 4:
            end = at + 4 + int.from_bytes(data[at : at + 4], "big")
            if end > len(data):
                break
            kind = data[at + 8]
            if kind == MessageType.PUBLISH:
                self.events += 1
            elif kind == MessageType.FEDERATION_SYNC:
                if data.startswith(_POINT, at + 8):
                    stored = int.from_bytes(data[end - 8 : end], "big")
                elif data[at + 9] == FederationOp.PEER:
                    self.send(*self._then)
                elif data[at + 9] == FederationOp.SYNC_COMPLETE:
                    self.ready = True
            at = end
        self._left = data[at:]
        if stored >= 0:
            self.send(stored_frame(stored))


def _send(to: socket.socket, *frames: bytes) -> None:
    to.sendall(b"".join(struct.pack(">I", len(frame)) + frame for frame in frames))


def _until(boxes: list[Box], done: str, wanted: int) -> None:
    with selectors.DefaultSelector() as selector:
        for box in boxes:
            selector.register(box.socket, selectors.EVENT_READ, box)
        until_s = time.monotonic() + TIMEOUT_S
        while any(getattr(box, done) < wanted for box in boxes) and time.monotonic() < until_s:
            for key, _ in selector.select(0.1):
                key.data.read()


def boxes_back(counts: tuple[int, ...], events: int) -> None:
    """A row for each number of boxes."""
    print(f"\n| boxes back, {events:,} events for each | seconds | hub CPU s | µs each | heard | hub's peak MB |")
    print("|---|---|---|---|---|---|", flush=True)
    sets = ("journal.mode=group", "tcp.listen=127.0.0.1:{mqtt_port}", "limits.max_sessions=1000")
    extra = tuple(part for text in sets for part in ("--set", text))
    for count in counts:
        with running(ours(), *extra) as hub:
            boxes = [Box(hub.mqtt_port, number) for number in range(count)]
            _until(boxes, "ready", 1)
            for box in boxes:
                box.socket.close()
            with socket.create_connection(("127.0.0.1", hub.mqtt_port), timeout=20) as teller:
                cues = [encode(Publish(f"/box/{n}/cue", signal=SignalType.EVENT, value=1)) for n in range(count)]
                _send(teller, encode(Hello(1, "teller", FEATURES[:-1])))
                for _ in range(events):
                    _send(teller, *cues)
                time.sleep(2.0)
            before_s, began_s = _cpu_s(hub.pid), time.monotonic()
            boxes = [Box(hub.mqtt_port, number) for number in range(count)]
            _until(boxes, "events", events)
            took_s, cpu_s = time.monotonic() - began_s, _cpu_s(hub.pid) - before_s
            heard = sum(box.events for box in boxes)
            peak_mb = _status(Path(f"/proc/{hub.pid}"), "VmHWM") / 1024
            print(
                f"| {count} | {took_s:.2f} | {cpu_s:.2f} | {cpu_s * 1e6 / (count * events):.1f} | {heard:,} "
                f"| {peak_mb:.0f} |",
                flush=True,
            )
            for box in boxes:
                box.socket.close()


if __name__ == "__main__":
    boxes_back(tuple(map(int, sys.argv[1:])) or (20, 50, 100), 1000)
