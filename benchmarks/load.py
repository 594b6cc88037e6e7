"""Runs the load generator once and returns what it measured.

Responsible for: its command line and the meaning of its JSON. Must not know: which router is behind the port.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_S = 180.0

ACKNOWLEDGED = ("set", "qos1")  # kinds of messages


class LoadError(Exception):
    """The load generator gave up; the text is what it said."""


@dataclass(frozen=True)
class LoadResult:
    """One run. Rates are per second, CPU times of the server in µs, latencies in µs, memory in KiB.

    A message counts as `handled` when everybody who subscribed to it has got it (without subscribers: when it was
    acknowledged). A router that drops deliveries has handled fewer messages, however fast it acknowledged them, and
    its CPU time is spread over these fewer. `acknowledged_per_s` and `cpu_us_per_sent` are the plain counts.
    """

    handled_per_s: float
    acknowledged_per_s: float
    deliveries_per_s: float
    cpu_us_per_handled: float
    cpu_us_per_sent: float
    lost_percent: float
    p50_us: float
    p99_us: float
    raw: dict[str, Any]

    @property
    def out_of_order(self) -> int:
        """Deliveries that came after a later message of the same publisher."""
        return int(self.raw["out_of_order"])

    @property
    def broken(self) -> int:
        """What must never happen, whatever the load: duplicates, garbage, closed connections."""
        return sum(int(self.raw[name]) for name in ("duplicates", "unstamped", "undecodable", "disconnects"))

    @property
    def load_share(self) -> float:
        """CPU time of the load generator to wall time; near 1 it was the limit, not the router."""
        return float(self.raw["load_cpu_s"] / (self.raw["wall_s"] or 1.0))


def _result(raw: dict[str, Any]) -> LoadResult:
    wall_s = raw["wall_s"] or 1.0
    if raw["expected"]:
        handled = raw["sent"] * raw["delivered"] / raw["expected"]
        lost_percent = 100.0 * raw["lost"] / raw["expected"]
    else:
        handled = raw["acked"] if raw["kind"] in ACKNOWLEDGED else raw["sent"]
        lost_percent = 0.0
    cpu_us = (raw["server_cpu_s"] or 0.0) * 1e6
    return LoadResult(
        handled_per_s=handled / wall_s,
        acknowledged_per_s=raw["acked"] / wall_s,
        deliveries_per_s=raw["deliveries_per_s"],
        cpu_us_per_handled=cpu_us / handled if handled else 0.0,
        cpu_us_per_sent=cpu_us / raw["sent"] if raw["sent"] else 0.0,
        lost_percent=lost_percent,
        p50_us=raw["delivery_us"]["p50"] or raw["ack_us"]["p50"],
        p99_us=raw["delivery_us"]["p99"] or raw["ack_us"]["p99"],
        raw=raw,
    )


def run(program: Path, port: int, server_pid: int | None, args: Sequence[str]) -> LoadResult:
    """`server_pid` is None for a router on another machine.

    Raises LoadError when the router refuses, breaks the protocol or stops answering.
    """
    return _result(run_raw(program, port, server_pid, args))


def run_raw(program: Path, port: int, server_pid: int | None, args: Sequence[str]) -> dict[str, Any]:
    """As `run`: what the program has printed."""
    command = [str(program), "--port", str(port), *args]
    if server_pid is not None:
        command += ["--server-pid", str(server_pid)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"no end after {TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        raise LoadError(done.stderr.strip() or f"exit status {done.returncode}")
    raw: dict[str, Any] = json.loads(done.stdout)
    return raw
