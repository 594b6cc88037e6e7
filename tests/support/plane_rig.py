"""A data plane without a router: a core on a real event loop, a plane, and peers whose other end the test holds.

Peers speak over a socketpair with TCP framing (wire.md 6.2). What the data plane hands up is written down.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterable

from clasp_edge.dataplane import Adapter, ClaspReceiver, Core, Framing, Plane, Route, Strategy, Subscription, Verdict
from clasp_edge.wire import Message, decode, decode_value, encode_frame, encode_value
from clasp_edge.wire.address import validate_address
from clasp_edge.wire.pattern import Pattern

EVERYTHING = Pattern(b"/**")
ALL_SIGNALS = 0x1F

LOCK, UNLOCK = 0x40, 0x20
EXPIRED_AT_ONCE = 0x8000_0000
"""The ttl word "absolute, 0 s": over by the next time that anybody looks."""

_LENGTH = struct.Struct(">I")
_STRATEGIES = {b"max": Strategy.MAX, b"min": Strategy.MIN, b"merge": Strategy.MERGE}


def set_payload(
    address: bytes, value: object, *, flags: int = 0, expected: int | None = None, ttl: int | None = None
) -> bytes:
    """A SET (wire.md 2.3); `flags` are `LOCK` and `UNLOCK`."""
    code, data = encode_value(value)
    flags |= code | (0x80 if expected is not None else 0) | (0x10 if ttl is not None else 0)
    payload = bytes((0x21, flags)) + struct.pack(">H", len(address)) + address + data
    if expected is not None:
        payload += struct.pack(">Q", expected)
    if ttl is not None:
        payload += struct.pack(">I", ttl)
    return payload


def publish_payload(address: bytes, data: bytes = b"", signal: int = 1, phase: int = 0) -> bytes:
    """A PUBLISH whose value is the bytes `data`."""
    head = bytes((0x20, signal << 5 | phase)) + struct.pack(">H", len(address)) + address
    return head + b"\x01\x09" + struct.pack(">H", len(data)) + data


class Control:
    """The control plane's part: the strategy of an address is named by its first segment."""

    def __init__(self) -> None:
        self.armed_ms: list[int] = []

    def classify(self, address: bytes) -> tuple[int, int]:
        validate_address(address)
        return Route.PLAIN, self.strategy_of(address)

    def strategy_of(self, address: bytes) -> int:
        return _STRATEGIES.get(address.split(b"/")[1], Strategy.LWW)

    def merge(self, old_type: int, old: bytes, new_type: int, new: bytes) -> tuple[int, bytes]:
        before, after = decode_value(old_type, old), decode_value(new_type, new)
        if isinstance(before, dict) and isinstance(after, dict):
            return encode_value({**before, **after})
        return new_type, new

    def arm(self, deadline_ms: int) -> None:
        self.armed_ms.append(deadline_ms)


class Client(ClaspReceiver):
    """The data plane's end of a connection."""

    def __init__(self, core: Core, plane: Plane) -> None:
        self.refused: list[tuple[Verdict, bytes, int, int]] = []
        self.garbage: list[str] = []
        self.handed_up: list[bytes] = []
        self.reading = True
        self.ended = False

    def on_message(self, payload: bytes, qos: int) -> None:
        self.handed_up.append(payload)

    def on_refused(self, verdict: int, address: bytes, revision: int, expected: int, is_set: bool) -> None:
        self.refused.append((Verdict(verdict), address, revision, expected))

    def on_garbage(self, fault: str) -> None:
        self.garbage.append(fault)

    def on_gesture(self, payload: bytes, address: bytes, phase: int, gesture_id: int) -> None:
        self.relay(payload, address)

    def pause_input(self) -> None:
        self.reading = False

    def resume_input(self) -> None:
        self.reading = True

    def end_abruptly(self) -> None:
        self.ended = True


class Listener(Adapter):
    """Wants to hear of everything as CLASP has it."""

    def on_deliveries(self, deliveries: object) -> None:
        pass


class Line:
    """One connection: `peer` on the data plane's side, `read` on the other."""

    def __init__(self, rig: Rig, name: bytes, buffer_bytes: int | None) -> None:
        self.rig = rig
        self.name = name
        self.near, self.far = socket.socketpair()
        for end in (self.near, self.far):
            end.setblocking(False)
        if buffer_bytes is not None:
            self.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        self.peer = Client(rig.core, rig.plane)
        self.peer.framing = Framing.TCP
        self.peer.greeted = True
        self.peer.open_outbox(self.near.fileno())
        rig.plane.register(self.peer, name)
        self.subscriptions: list[Subscription] = []
        self._unread = b""

    def subscribe(self, pattern: Pattern = EVERYTHING, mask: int = ALL_SIGNALS, filter: object = None) -> Subscription:  # noqa: A002
        subscription = Subscription(self.peer, len(self.subscriptions), pattern, mask, filter)
        self.subscriptions.append(subscription)
        self.rig.plane.trie.add(subscription)
        return subscription

    def feed(self, payloads: Iterable[bytes], qos: int = 0) -> None:
        """Hand frames in as one read of the transport."""
        self.feed_frames(bytes((0x53, qos << 6)) + encode_frame(payload)[2:] for payload in payloads)

    def feed_frames(self, frames: Iterable[bytes]) -> None:
        data = b"".join(_LENGTH.pack(len(frame)) + frame for frame in frames)
        assert self.peer.receive_stream(data, len(data)) == len(data)
        while not self.peer.reading and self.rig.core.work_waits:
            self.rig.turn()  # what took long is handled in parts

    def read_frames(self) -> list[bytes]:
        """What the peer has been sent by now."""
        self.rig.turn()
        while True:
            try:
                data = self.far.recv(1 << 20)
            except BlockingIOError:
                break
            if not data:
                break
            self._unread += data
        frames = []
        at = 0
        while len(self._unread) - at >= 4:
            (length,) = _LENGTH.unpack_from(self._unread, at)
            if len(self._unread) - at - 4 < length:
                break
            frames.append(self._unread[at + 4 : at + 4 + length])
            at += 4 + length
        self._unread = self._unread[at:]
        return frames

    def read(self) -> list[Message]:
        return [decode(frame)[1] for frame in self.read_frames()]

    def read_to_the_end(self) -> list[Message]:
        """Everything that waits for the peer, read as fast as it comes."""
        messages = []
        while self.peer.busy:
            messages += self.read()
            self.rig.turn(0.001)
        return messages + self.read()

    def close(self) -> None:
        """As a session ends: no more subscriptions, no more writes, no socket."""
        for subscription in self.subscriptions:
            self.rig.plane.trie.discard(subscription)
        self.subscriptions.clear()
        self.rig.plane.unregister(self.peer)
        self.peer.close_outbox()
        self.near.close()
        self.far.close()


class Rig:
    """A core, a plane and an event loop that turns when told."""

    def __init__(
        self, *, arena_mib: int = 4, high_water: int = 256 << 10, event_backlog: int = 512 << 10, history: int = 0
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self.core = Core(arena_mib, high_water, event_backlog)
        self.core.loop = self.loop
        self.plane = Plane(self.core, history)
        self.control = Control()
        self.plane.control = self.control
        self.lines: list[Line] = []

    def line(self, name: bytes = b"", buffer_bytes: int | None = None) -> Line:
        line = Line(self, name, buffer_bytes)
        self.lines.append(line)
        return line

    def turn(self, seconds: float = 0) -> None:
        """Let the loop do what is due: a few rounds, because what is due may ask for more."""
        for _ in range(4):
            self.loop.run_until_complete(asyncio.sleep(0))
        if seconds:
            self.loop.run_until_complete(asyncio.sleep(seconds))

    def hang_up(self, line: Line) -> None:
        self.lines.remove(line)
        line.close()

    def close(self) -> None:
        for line in self.lines:
            line.close()
        self.turn()
        self.loop.close()
