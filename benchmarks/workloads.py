"""What is measured: every workload as a command line of the load generator.

Responsible for: names, descriptions and parameters. Must not know: peers, how results are judged.

Workloads of one group are measured in the same rounds, because they are compared with each other.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """`seconds` bounds the sending; `count` bounds open loops in messages, too, so that they stay finite."""

    name: str
    title: str
    args: tuple[str, ...]
    group: str = ""
    seconds: float = 3.0
    count: int = 0
    warmup: int = 5000
    not_for: frozenset[str] = frozenset()

    def arguments(self, quick: bool) -> list[str]:
        seconds = self.seconds / 4 if quick else self.seconds
        count = self.count // 4 if quick else self.count
        bounds = ["--duration", str(seconds), *(["--count", str(count)] if count else [])]
        return [*self.args, *bounds, "--warmup", str(self.warmup)]


def _w(name: str, title: str, args: str, **more: object) -> Workload:
    return Workload(name, title, tuple(args.split()), **more)  # type: ignore[arg-type]


OPEN_COUNT = 3_000_000
BLIND = frozenset({"forwarder"})  # it would deliver to those who did not ask

WORKLOADS: tuple[Workload, ...] = (
    _w("set-1-1", "SET 1→1, window 500", "--window 500"),
    _w("set-1-1-open", "SET 1→1, open loop", "--open", count=OPEN_COUNT),
    _w("set-1-0", "SET, no subscriber, window 2,000", "--subscribers 0 --window 2000"),
    _w("event-1-1", "events 1→1, window 500", "--kind event --window 500"),
    _w("event-1-1-open", "events 1→1, open loop", "--kind event --open", count=OPEN_COUNT),
    _w("stream-1-1-open", "streams 1→1, open loop", "--kind stream --open", count=OPEN_COUNT),
    _w("fanout-10-w5", "SET 1→10, window 5", "--subscribers 10 --window 5"),
    _w("fanout-10-w200", "SET 1→10, window 200", "--subscribers 10 --window 200"),
    _w("fanout-100-w5", "SET 1→100, window 5", "--subscribers 100 --window 5", warmup=200),
    _w("fanout-100-w200", "SET 1→100, window 200", "--subscribers 100 --window 200", warmup=1000),
    _w("fanout-1000-w5", "SET 1→1,000, window 5", "--subscribers 1000 --window 5", warmup=50),
    _w("fanout-1000-w200", "SET 1→1,000, window 200", "--subscribers 1000 --window 200", warmup=200),
    _w("set-4-4", "SET 4→4, window 200 each", "--publishers 4 --subscribers 4 --window 200"),
    _w("set-64-4", "SET 64→4, window 50 each", "--publishers 64 --subscribers 4 --window 50"),
    _w("set-64-4-w5", "SET 64→4, window 5 each", "--publishers 64 --subscribers 4 --window 5"),
    # Both warmed up by one message for each address of the larger run, so that the router knows all of them.
    _w("addresses-10", "SET 1→1 over 10 addresses", "--addresses 10", group="addresses", warmup=100_000),
    _w("addresses-100k", "SET 1→1 over 100,000 addresses", "--addresses 100000", group="addresses", warmup=100_000),
    _w("addresses-new", "SET 1→1, 100,000 new addresses", "--addresses 100000", group="addresses", count=100_000,
       warmup=0, seconds=60.0),
    _w("others-0", "SET 1→1, no other subscriptions", "--window 500", group="others"),
    _w("others-10k", "SET 1→1, 10,000 that do not match", "--window 500 --nonmatching 10000", group="others",
       not_for=BLIND),
    _w("ping-pong", "SET 1→1, one at a time", "--ping-pong"),
    _w("slow-0", "SET 1→4, window 200", "--subscribers 4 --window 200", group="slow"),
    _w("slow-1", "the same beside one that never reads", "--subscribers 4 --window 200 --slow 1", group="slow"),
    _w("slow-1-event", "events 1→4 beside one that never reads", "--kind event --subscribers 4 --window 200 --slow 1",
       group="slow"),
    _w("rate-10k", "SET 1→1 at 10,000/s", "--rate 10000"),
)  # fmt: skip

# Measured by footprint.py, not by load.
FOOTPRINTS = {
    "startup": "start to ready",
    "idle": "idle, WebSocket only",
    "idle-all": "idle, everything on",
    "sessions": "1,000 idle sessions",
    "params": "100,000 params",
}
