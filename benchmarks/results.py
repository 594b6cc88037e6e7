"""Results of all runs: medians over rounds, and writing them as JSON.

Responsible for: collecting, summarising, storing. Must not know: limits, layout of tables.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.load import LoadResult


@dataclass(frozen=True)
class Summary:
    """Medians over the rounds of one workload at one peer; units as in LoadResult.

    `lost_percent`, `out_of_order` and `broken` are the worst of all rounds, because these may not happen even once.
    """

    handled_per_s: float
    acknowledged_per_s: float
    deliveries_per_s: float
    cpu_us_per_handled: float
    cpu_us_per_sent: float
    p50_us: float
    p99_us: float
    lost_percent: float
    out_of_order: int
    broken: int
    load_share: float


def summarise(rounds: list[LoadResult]) -> Summary:
    def median(name: str) -> float:
        values: list[float] = [getattr(r, name) for r in rounds]
        return statistics.median(values)

    return Summary(
        **{
            name: median(name)
            for name in (
                "handled_per_s",
                "acknowledged_per_s",
                "deliveries_per_s",
                "cpu_us_per_handled",
                "cpu_us_per_sent",
                "p50_us",
                "p99_us",
            )
        },
        lost_percent=max(r.lost_percent for r in rounds),
        out_of_order=max(r.out_of_order for r in rounds),
        broken=max(r.broken for r in rounds),
        load_share=max(r.load_share for r in rounds),
    )


@dataclass
class Results:
    """Everything measured in one run of the benchmarks, by workload and peer."""

    rounds: dict[tuple[str, str], list[LoadResult]] = field(default_factory=dict)
    footprints: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, workload: str, peer: str, result: LoadResult) -> None:
        self.rounds.setdefault((workload, peer), []).append(result)

    def summary(self, workload: str, peer: str) -> Summary | None:
        rounds = self.rounds.get((workload, peer))
        return summarise(rounds) if rounds else None

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()}
        for (workload, peer), rounds in self.rounds.items():
            entry = {"median": vars(summarise(rounds)), "rounds": [r.raw for r in rounds]}
            out.setdefault("load", {}).setdefault(workload, {})[peer] = entry
        for (name, peer), values in self.footprints.items():
            out.setdefault("footprint", {}).setdefault(name, {})[peer] = values
        for (name, peer), text in self.failures.items():
            out.setdefault("failures", {}).setdefault(name, {})[peer] = text
        return out


def machine() -> str:
    """Processor, number of cores and kernel, for the record."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"


def write(results: Results, verdicts: list[dict[str, Any]], directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps({**results.to_json(), "requirements": verdicts}, indent=1) + "\n")
    return path
