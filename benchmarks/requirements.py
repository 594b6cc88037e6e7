"""The numbers that must hold, and whether they do.

Responsible for: the limits and how each is computed from results. Must not know: how anything was measured or is shown.

Rates and CPU times are per *handled* message (see load.LoadResult): a router that drops deliveries is not credited
with them. Where a limit compares CPU times, smaller is better, so the ratio is ours to theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.results import Results, Summary
from benchmarks.workloads import FOOTPRINTS

# The number for one peer: this daemon, or the forwarder in its place, to see what the ceiling itself reaches.
Measure = Callable[[Results, str], float | None]


@dataclass(frozen=True)
class Requirement:
    text: str
    measure: Measure
    limit: float
    at_least: bool
    digits: int = 2


@dataclass(frozen=True)
class Verdict:
    """`value` None: something needed for it was not measured. `ceiling`: the same number for the forwarder."""

    text: str
    value: float | None
    ceiling: float | None
    limit: float
    at_least: bool
    digits: int

    @property
    def holds(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def _quotient(top: Summary | None, bottom: Summary | None, field: str) -> float | None:
    if top is None or bottom is None or not getattr(bottom, field):
        return None
    return float(getattr(top, field) / getattr(bottom, field))


def _against(workload: str, field: str, other: str = "rust") -> Measure:
    """The peer's number to another peer's, at one workload."""
    return lambda results, peer: _quotient(results.summary(workload, peer), results.summary(workload, other), field)


def _own(workload: str, field: str) -> Measure:
    """The peer's number as it is."""

    def measure(results: Results, peer: str) -> float | None:
        summary = results.summary(workload, peer)
        return float(getattr(summary, field)) if summary else None

    return measure


def _change(field: str, workload: str, base: str) -> Measure:
    """The peer's number at one workload to its own at another."""
    return lambda results, peer: _quotient(results.summary(workload, peer), results.summary(base, peer), field)


def _more(field: str, workload: str, base: str) -> Measure:
    """What the peer's number at one workload is above its own at another."""

    def measure(results: Results, peer: str) -> float | None:
        top, bottom = results.summary(workload, peer), results.summary(base, peer)
        return float(getattr(top, field) - getattr(bottom, field)) if top and bottom else None

    return measure


def _lost(workload: str) -> Measure:
    def measure(results: Results, peer: str) -> float | None:
        summary = results.summary(workload, peer)
        return summary.lost_percent if summary else None

    return measure


def _disorder(results: Results, peer: str) -> float | None:
    """Everything out of order, twice, undecodable or disconnected, over all workloads."""
    found = [results.summary(workload, name) for workload, name in results.rounds if name == peer]
    return float(sum(s.out_of_order + s.broken for s in found if s)) if found else None


def _footprint(name: str, key: str) -> Measure:
    return lambda results, peer: results.footprints.get((name, peer), {}).get(key)


def _at_least(text: str, measure: Measure, limit: float) -> Requirement:
    return Requirement(text, measure, limit, at_least=True)


def _at_most(text: str, measure: Measure, limit: float, digits: int = 2) -> Requirement:
    return Requirement(text, measure, limit, at_least=False, digits=digits)


def _no_loss(workload: str) -> Requirement:
    return _at_most(f"{workload}: lost, %", _lost(workload), 0.0, 4)


RATE, CPU = "handled_per_s", "cpu_us_per_handled"

ATTACKS = [name for name in FOOTPRINTS if name.startswith("attack-")]

REQUIREMENTS: tuple[Requirement, ...] = (
    *(_at_most(f"{name}: longest round, ms CPU", _footprint(name, "round_ms"), 10) for name in ATTACKS),
    *(_at_most(f"{name}: honest SET, p99, ms", _footprint(name, "p99_ms"), 10) for name in ATTACKS),
    *(_at_most(f"{name}: honest SET, max, ms", _footprint(name, "max_ms"), 50) for name in ATTACKS),
    _at_least("set-1-1: rate, x Rust", _against("set-1-1", RATE), 7),
    _at_most("set-1-1: CPU per message, x Rust", _against("set-1-1", CPU), 1 / 8, 3),
    _no_loss("set-1-1"),
    _at_least("set-64-4: rate, x Rust", _against("set-64-4", RATE), 7),
    _at_most("set-64-4: CPU per message, x Rust", _against("set-64-4", CPU), 1 / 8, 3),
    _no_loss("set-64-4"),
    _at_most("100,000 addresses: CPU, x 10 addresses", _change(CPU, "addresses-100k", "addresses-10"), 1.3),
    _at_most("10,000 other subscriptions: CPU, x none", _change(CPU, "others-10k", "others-0"), 1.2),
    _at_most("1,000 rules elsewhere: CPU, x none", _change(CPU, "rules-1k", "rules-0"), 1.02),
    _at_most("a rule that is set off: CPU more, µs", _more(CPU, "rate-10k-rule", "rate-10k"), 15),
    _no_loss("rate-10k-rule"),
    _at_least("event-1-1-open: rate, x Rust", _against("event-1-1-open", RATE), 15),
    _at_most("event-1-1-open: CPU per message, x Rust", _against("event-1-1-open", CPU), 1 / 15, 3),
    _no_loss("event-1-1-open"),
    _at_least("fanout-100-w5: deliveries, x Rust", _against("fanout-100-w5", "deliveries_per_s"), 2.5),
    _at_least("fanout-100-w200: deliveries, x Rust", _against("fanout-100-w200", "deliveries_per_s"), 15),
    _at_most("fanout-100-w5: CPU, x Rust", _against("fanout-100-w5", CPU), 1 / 6, 3),
    _at_most("fanout-100-w200: CPU, x Rust", _against("fanout-100-w200", CPU), 1 / 6, 3),
    _no_loss("fanout-100-w5"),
    _no_loss("fanout-100-w200"),
    _at_most("ping-pong: p50, x Rust", _against("ping-pong", "p50_us"), 0.8),
    _at_most("ping-pong: p99, x Rust", _against("ping-pong", "p99_us"), 0.8),
    _at_most("ping-pong: CPU, x Rust", _against("ping-pong", CPU), 0.65),
    _at_least("set-1-1: share of the ceiling", _against("set-1-1", RATE, "forwarder"), 0.55),
    _at_least("osc-in: messages per second", _own("osc-in", RATE), 100_000),
    _no_loss("osc-in"),
    _at_least("mqtt-qos0: rate, x Mosquitto", _against("mqtt-qos0", RATE, "mosquitto"), 5),
    _at_least("mqtt-qos0-open: rate, x Mosquitto", _against("mqtt-qos0-open", RATE, "mosquitto"), 5),
    _at_least("mqtt-qos1: rate, x Mosquitto", _against("mqtt-qos1", RATE, "mosquitto"), 4),
    _at_least(
        "mqtt-fanout-w200: deliveries, x Mosquitto", _against("mqtt-fanout-w200", "deliveries_per_s", "mosquitto"), 10
    ),
    _at_most("mqtt-ping-pong: p50, x Mosquitto", _against("mqtt-ping-pong", "p50_us", "mosquitto"), 1.1),
    _no_loss("mqtt-qos0"),
    _no_loss("mqtt-qos1"),
    _no_loss("mqtt-fanout-w200"),
    _no_loss("mqtt-to-clasp"),
    _at_least("quic-set-1-1: messages per second", _own("quic-set-1-1", RATE), 300_000),
    _at_most("quic-set-1-1: CPU per message, µs", _own("quic-set-1-1", CPU), 1.5),
    _no_loss("quic-set-1-1"),
    _no_loss("quic-ping-pong"),
    _at_least("beside a slow subscriber: rate, x without", _change(RATE, "slow-1", "slow-0"), 0.8),
    _no_loss("slow-1"),
    _at_most("all workloads: out of order, twice or broken", _disorder, 0, 0),
    _at_most("idle, WebSocket only: RSS, MB", _footprint("idle", "rss_mb"), 32),
    _at_most("idle, WebSocket only: CPU, %", _footprint("idle", "cpu_percent"), 0.5),
    _at_most("idle, WebSocket only: wake-ups/s", _footprint("idle", "wakeups_per_s"), 5),
    _at_most("idle, everything on: RSS, MB", _footprint("idle-all", "rss_mb"), 32),
    _at_most("idle, everything on: CPU, %", _footprint("idle-all", "cpu_percent"), 0.5),
    _at_most("idle, everything on: wake-ups/s", _footprint("idle-all", "wakeups_per_s"), 5),
    _at_most("100,000 params: MB more", _footprint("params", "more_mb"), 40),
    _at_most("10,000 rules: CPU until ready, s more", _footprint("rules", "more_cpu_s"), 1.0),
    _at_most("1,000 idle sessions: MB more", _footprint("sessions", "more_mb"), 12),
    _at_most("start to ready, s", _footprint("startup", "start_s"), 0.6),
)


def verdicts(results: Results) -> list[Verdict]:
    return [
        Verdict(r.text, r.measure(results, "ours"), r.measure(results, "forwarder"), r.limit, r.at_least, r.digits)
        for r in REQUIREMENTS
    ]
