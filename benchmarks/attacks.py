"""How long honest clients wait while a stranger does its worst, and what one round of the router's loop takes then.

    python -m benchmarks --only attack          # all of them; each is a name of its own

Each attack runs for some seconds against a fresh router with its default limits, from a process of its own; an honest
client says a SET ten times a tenth of a second and hears it back by a second connection. Told are its waiting times,
the longest round of the router's event loop in CPU time (`load/rounds.c`, which other programs on the machine hardly
change), how many took more than 10 ms, and the resident memory. Must not know: how figures are judged or shown.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from benchmarks import build
from benchmarks.processes import PeerError, free_port, ours, running
from benchmarks.streams import Tcp, framed, greet, rss_kib, until_end
from clasp_edge import wire

ATTACK_S = 8.0
SETTLE_S = 1.0
GAP_S = 0.01
PARAMS = 10_000
SUBSCRIBERS = 256
LIMITS = {"limits.messages_per_second", "limits.max_sessions", "limits.max_half_open", "state.max_params"}
"""Which a load test sets out of the way, and this does not."""

GLOB = "/x/" + "*a" * 16 + "{a,}" * 20
LONG = "/x/" + "a" * 900

Attack = Callable[["Place"], None]


class Place:
    """Where the router under attack is, and until when."""

    def __init__(self, tcp: int, osc: int, seconds: float) -> None:
        self.tcp = ("127.0.0.1", tcp)
        self.osc = ("127.0.0.1", osc)
        self.end_s = time.monotonic() + seconds

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.end_s

    def client(self) -> Tcp:
        stream = Tcp(self.tcp)
        greet(stream)
        return stream


def _say(stream: Tcp, *messages: wire.Message) -> None:
    stream.send(b"".join(framed(stream, wire.encode(message, 0)) for message in messages))


def _again(place: Place, message: Callable[[int], wire.Message], gap_s: float = 0.02) -> None:
    stream = place.client()
    for number in itertools.count():
        if not place.goes_on:
            return
        _say(stream, message(number))
        while place.goes_on and stream.receive():
            pass
        time.sleep(gap_s)


def patterns(place: Place) -> None:
    """A hundred costly patterns, then events to ever new addresses."""
    stream = place.client()
    _say(stream, *(wire.Subscribe(number, GLOB[:-4] + f"*{number}") for number in range(100)))
    for number in itertools.count():
        if not place.goes_on:
            return
        _say(stream, wire.Publish(f"{LONG}{number}", wire.SignalType.EVENT, 1))
        stream.receive()


def get_wild(place: Place) -> None:
    _again(place, lambda number: wire.Get("/*/*/*" + "{a,}" * 40))


def subscribe_all(place: Place) -> None:
    _again(place, lambda number: wire.Subscribe(number % 50, "/**"))


def replay_all(place: Place) -> None:
    _again(place, lambda number: wire.Replay("/**", limit=1_000_000))


def bundles(place: Place) -> None:
    whole = wire.Bundle(tuple(wire.Set("/x", None) for _ in range(8000)))
    _again(place, lambda number: whole)


def routers(place: Place) -> None:
    """A router that declares a thousand patterns, under ever new ids."""
    patterns_ = tuple(f"/r/{number}/*/x" for number in range(1000))
    for number in itertools.count():
        if not place.goes_on:
            return
        stream = place.client()
        name = f"r{number}"
        peer = wire.FederationSync(wire.FederationOp.PEER, origin=name, since_revision=1)
        declare = wire.FederationSync(wire.FederationOp.DECLARE_NAMESPACES, patterns=patterns_, origin=name)
        with suppress(OSError):
            _say(stream, peer, declare)
            stream.receive()
        stream.close()


def osc_wild(place: Place) -> None:
    """OSC messages whose address stands for all params."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        while place.goes_on:
            device.sendto(b"/p/*/*\0\0,i\0\0\0\0\0\x01", place.osc)
            time.sleep(0.002)


def _surfaces(place: Place) -> list[socket.socket]:
    """As many OSC devices as may subscribe, all to everything, and there to be told."""
    devices = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(SUBSCRIBERS)]
    for device in devices:
        device.connect(place.osc)
        device.setblocking(False)
        for word in (b"/clasp/subscribe", b"/clasp/renew"):  # the second one shows that it is there
            device.send(word + bytes(4 - len(word) % 4) + b",si\0/**\0\0\0\x0e\x10")
    return devices


def _hear(devices: list[socket.socket]) -> None:
    for device in devices:
        with suppress(BlockingIOError):
            while device.recv(65536):
                pass


def osc_state(place: Place) -> None:
    """All OSC subscribers there can be want the whole state at once, again and again."""
    while place.goes_on:
        devices = _surfaces(place)
        until_s = time.monotonic() + 2.0
        while place.goes_on and time.monotonic() < until_s:
            _hear(devices)
            time.sleep(0.01)
        for device in devices:
            device.close()


def osc_burst(place: Place) -> None:
    """A client recalls a scene of 500 params twice a second, and as many OSC subscribers as there can be are told."""
    devices = _surfaces(place)
    stream = place.client()
    for number in itertools.count():
        if not place.goes_on:
            return
        _say(stream, wire.Bundle(tuple(wire.Set(f"/osc/scene/{one}", number) for one in range(500))))
        until_s = time.monotonic() + 0.5
        while time.monotonic() < until_s:
            _hear(devices)
            stream.receive()
            time.sleep(0.01)


def _many(place: Place, message: Callable[[int, int], wire.Message]) -> None:
    """A client says 200 things at once, 40 times a second, and as many OSC subscribers as there can be are told."""
    devices = _surfaces(place)
    stream = place.client()
    threading.Thread(target=_swallow, args=(place, stream), daemon=True).start()
    for number in itertools.count():
        if not place.goes_on:
            return
        until_s = time.monotonic() + 1 / 40
        _say(stream, *(message(one, number) for one in range(200)))
        while time.monotonic() < until_s:
            _hear(devices)
            time.sleep(0.002)


def _swallow(place: Place, stream: Tcp) -> None:
    while place.goes_on:
        stream.receive()


def osc_sets(place: Place) -> None:
    """All OSC subscribers there can be are told more values than there is time for."""
    _many(place, lambda one, number: wire.Set(f"/osc/fader/{one}", number))


def osc_events(place: Place) -> None:
    """The same of events, of which none takes another's place."""
    _many(place, lambda one, number: wire.Publish(f"/osc/cue/{one}", wire.SignalType.EVENT, number))


def strangers(place: Place) -> None:
    """Connections whose first message is a large bundle."""
    frame = wire.encode(wire.Bundle(tuple(wire.Set("/x", None) for _ in range(8000))), 0)
    while place.goes_on:
        stream = Tcp(place.tcp)
        with suppress(OSError):
            stream.send(framed(stream, frame))
            stream.receive()
        stream.close()


ATTACKS: dict[str, Attack] = {
    "attack-patterns": patterns,
    "attack-get": get_wild,
    "attack-subscribe": subscribe_all,
    "attack-replay": replay_all,
    "attack-bundles": bundles,
    "attack-routers": routers,
    "attack-osc": osc_wild,
    "attack-osc-state": osc_state,
    "attack-osc-burst": osc_burst,
    "attack-osc-sets": osc_sets,
    "attack-osc-events": osc_events,
    "attack-strangers": strangers,
}


def _meter() -> Path:
    """The library that measures rounds. Raises PeerError."""
    source, target = build.HERE / "load" / "rounds.c", build.BUILD / "rounds.so"
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise PeerError("a C compiler is needed to measure rounds")
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", target, source, "-ldl"], check=True, timeout=60)
    return target


def _honest(place: Place, until: Callable[[], bool]) -> list[float]:
    """How long each SET took to be heard, in milliseconds."""
    writer, reader = place.client(), place.client()
    _say(reader, wire.Subscribe(1, "/honest"))
    _say(reader, wire.Ping())
    until_end(reader, framed(reader, wire.encode(wire.Pong())))
    took: list[float] = []
    while not until():
        began_s = time.perf_counter()
        _say(writer, wire.Set("/honest", began_s))
        got = b""
        while not got:
            got = reader.receive()
        took.append((time.perf_counter() - began_s) * 1e3)
        time.sleep(GAP_S)
    return sorted(took)


def _fill(place: Place) -> None:
    stream = place.client()
    for begin in range(0, PARAMS, 500):
        _say(stream, *(wire.Set(f"/osc/p/{n % 100}/{n}", n) for n in range(begin, begin + 500)), wire.Ping())
        until_end(stream, framed(stream, wire.encode(wire.Pong())))
        time.sleep(0.5)  # below the rate of one client
    stream.close()


def measure(name: str, seconds: float = ATTACK_S) -> dict[str, float]:
    """Run one attack. Raises PeerError."""
    tcp = free_port()
    with tempfile.TemporaryDirectory(prefix="clasp-rounds-") as directory:
        out = Path(directory) / "rounds"
        peer = ours(everything=True)
        sets = list(peer.command)
        for at in [i for i, part in enumerate(sets) if part.partition("=")[0] in LIMITS][::-1]:
            del sets[at - 1 : at + 1]
        environment = {"LD_PRELOAD": str(_meter()), "ROUNDS_OUT": str(out)}
        peer = replace(peer, command=tuple(sets), environment=environment)
        more = ("--set", f"tcp.listen=127.0.0.1:{tcp}", "--set", "journal.mode=group", *peer.osc[:2])
        with running(peer, *more) as process:
            place = Place(tcp, process.osc_port, seconds)
            if name in ("attack-get", "attack-subscribe", "attack-replay", "attack-osc", "attack-osc-state"):
                _fill(place)
            time.sleep(SETTLE_S)
            Path(f"{out}.reset").touch()
            command = [sys.executable, "-m", "benchmarks.attacks", name, str(tcp), str(process.osc_port), str(seconds)]
            attacker = subprocess.Popen(command, cwd=build.ROOT, env=os.environ | {"PYTHONPATH": str(build.ROOT)})
            took = _honest(place, lambda: attacker.poll() is not None)
            if attacker.returncode != 0 or not took:
                raise PeerError(f"{name}: the attacker ended with status {attacker.returncode}")
            time.sleep(0.3)
            longest_ms, long_ones, _ = out.read_text().split()
            return {
                "round_ms": float(longest_ms),
                "rounds_over_10_ms": float(long_ones),
                "p50_ms": took[len(took) // 2],
                "p99_ms": took[int(len(took) * 0.99)],
                "max_ms": took[-1],
                "rss_mb": rss_kib(process.pid) / 1024,
            }


if __name__ == "__main__":
    ATTACKS[sys.argv[1]](Place(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
