"""Fuzzing of the compiled fast path; run by hand or by `make fuzz`, not by pytest.

    python tests/dataplane/fuzz_peer.py -max_total_time=60 [corpus directories]

Each input is fed to a greeted peer as one frame, beside a second peer that is subscribed to everything. A finding is a
crash, a relayed frame that the wire decoder refuses, or a frame that one of the two accepts and the other does not.
"""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

with atheris.instrument_imports(include=["clasp_edge.wire"]):
    from clasp_edge import wire

from support.wire_vectors import all_vectors

from clasp_edge.dataplane import ClaspReceiver, Core, Framing, Plane, Route, Strategy, Subscription
from clasp_edge.wire.address import validate_address
from clasp_edge.wire.pattern import Pattern

SEEDS = Path(__file__).resolve().parents[2] / "build" / "fuzz-seeds"
HOT = (wire.MessageType.SET, wire.MessageType.PUBLISH)


class Control:
    """The least a plane needs."""

    def classify(self, address: bytes) -> tuple[int, int]:
        validate_address(address)
        return Route.PLAIN, Strategy.LWW

    def arm(self, deadline_ms: int) -> None:
        """Expiry is not what is fuzzed."""


class Heard(ClaspReceiver):
    """A peer that remembers what was handed up."""

    def __init__(self, core: Core, plane: Plane) -> None:
        self.faults: list[str] = []
        self.verdicts: list[int] = []

    def on_garbage(self, fault: str) -> None:
        self.faults.append(fault)

    def on_refused(self, verdict: int, address: bytes, revision: int, expected: int, is_set: bool) -> None:
        self.verdicts.append(verdict)

    def on_gesture(self, payload: bytes, address: bytes, phase: int, gesture_id: int) -> None:
        self.relay(payload, address)


CORE = Core(4, 262144, 262144)
PLANE = Plane(CORE, 65536)
PLANE.control = Control()
PLANE.max_params = 1000
PLANE.param_ttl_s = 3600


def connected(writer: bytes) -> tuple[Heard, socket.socket]:
    """A greeted peer and the other end of its connection."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    peer = Heard(CORE, PLANE)
    peer.framing = Framing.TCP
    peer.open_outbox(ours.detach())
    PLANE.register(peer, writer)
    peer.greeted = True
    return peer, theirs


SENDER, SENDER_END = connected(b"sender")
LISTENER, LISTENER_END = connected(b"listener")
PLANE.trie.add(Subscription(LISTENER, 1, Pattern(b"/**"), 0))


def read(end: socket.socket) -> bytes:
    """All that has arrived."""
    found = b""
    with suppress(BlockingIOError):
        while True:
            found += end.recv(1 << 20)
    return found


def one_input(data: bytes) -> None:
    """One frame from the sender, judged by what the listener gets."""
    SENDER.faults.clear()
    SENDER.verdicts.clear()
    SENDER.receive_stream(len(data).to_bytes(4, "big") + data, 4 + len(data))
    # On a busy machine its time may have been over before it began: then the frame waits for the next turn.
    SENDER.take_deferred()
    read(SENDER_END)
    relayed = read(LISTENER_END)
    try:
        _, message = wire.decode(data)
    except wire.WireError as error:
        if relayed:
            raise AssertionError(f"relayed what cannot be decoded: {data.hex()}") from error
        return
    if message.type not in HOT or wire.is_legacy(data[12 if data[1] & 0x20 else 4 :]):
        return
    if SENDER.faults:
        raise AssertionError(f"refused what can be decoded ({SENDER.faults}): {data.hex()}")
    if not SENDER.verdicts and not relayed:
        raise AssertionError(f"neither refused nor relayed: {data.hex()}")
    if relayed:
        wire.decode(relayed[4:])


def main() -> None:
    """Write the seeds where libFuzzer can read them, then hand over."""
    SEEDS.mkdir(parents=True, exist_ok=True)
    for vector in all_vectors():
        (SEEDS / vector.name).write_bytes(vector.frame)
    atheris.Setup([*sys.argv, "-max_len=70000", str(SEEDS)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
