"""Results as text tables for a terminal.

Responsible for: layout and rounding. Must not know: how numbers are measured; limits come as verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.requirements import Verdict
from benchmarks.results import Results, Summary
from benchmarks.workloads import FOOTPRINTS, Workload

LOAD_LIMIT = 0.9  # of one core: above it the load generator may have been what limits


def _count(n: float) -> str:
    return f"{n / 1e6:.2f}M" if n >= 1e6 else f"{n / 1e3:.1f}k" if n >= 1e4 else f"{n:.0f}"


def _cell(s: Summary | None) -> str:
    """messages/s · CPU µs per message, and what was lost or broken."""
    if s is None:
        return "-"
    text = f"{_count(s.handled_per_s)} · {s.cpu_us_per_handled:.2f}"
    notes = []
    if s.lost_percent:
        notes.append(f"{s.lost_percent:.2g}% lost")
    if s.out_of_order:
        notes.append(f"{_count(s.out_of_order)} out of order")
    if s.broken:
        notes.append(f"{_count(s.broken)} BROKEN")
    if s.load_share > LOAD_LIMIT:
        notes.append("load generator full")
    return f"{text} ({', '.join(notes)})" if notes else text


def _ratio(a: Summary | None, b: Summary | None, field: str) -> str:
    if a is None or b is None or not getattr(b, field):
        return "-"
    return f"{getattr(a, field) / getattr(b, field):.2f}"


def _grid(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def load_table(results: Results, workloads: Sequence[Workload], peers: Sequence[str], other: str = "rust") -> str:
    """A row for each workload; `other` is the peer that ours is compared with beside the ceiling."""
    head = ["workload", *(f"{p}: msg/s · CPU µs" for p in peers), *(f"{p} p50/p99 µs" for p in peers)]
    rows = [[*head, f"rate/{other}", f"CPU/{other}", "of ceiling"]]
    for w in workloads:
        found = {p: results.summary(w.name, p) for p in peers}
        if not any(found.values()):
            continue
        ours = found.get("ours")
        latency = [f"{s.p50_us:.0f}/{s.p99_us:.0f}" if s else "-" for s in found.values()]
        rows.append([
            w.name, *(_cell(s) for s in found.values()), *latency,
            _ratio(ours, found.get(other), "handled_per_s"), _ratio(ours, found.get(other), "cpu_us_per_handled"),
            _ratio(ours, found.get("forwarder"), "handled_per_s"),
        ])  # fmt: skip
    return _grid(rows) if len(rows) > 1 else ""


def footprint_table(results: Results, peers: Sequence[str]) -> str:
    rows = [["footprint", *peers]]
    for name, title in FOOTPRINTS.items():
        cells = []
        for peer in peers:
            values = results.footprints.get((name, peer))
            cells.append(", ".join(f"{k} {v:.2f}" for k, v in values.items()) if values else "-")
        if any(cell != "-" for cell in cells):
            rows.append([title, *cells])
    return _grid(rows) if len(rows) > 1 else ""


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    words = {True: "ok", False: "SHORT", None: "not measured"}
    rows = [["requirement", "measured", "limit", "", "the ceiling's"]]
    for v in verdicts:
        sign = "≥" if v.at_least else "≤"
        value, ceiling = ("-" if n is None else f"{n:.{v.digits}f}" for n in (v.value, v.ceiling))
        rows.append([v.text, value, f"{sign} {v.limit:.3g}", words[v.holds], ceiling])
    return _grid(rows)
