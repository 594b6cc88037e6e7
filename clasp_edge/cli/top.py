"""`clasp-edge top`: the running router, looked at again and again: rates, who sends most, who is slow, what is lost.

Rates are differences of two answers of the control socket; the router does nothing for them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from clasp_edge.cli.status_text import duration, printable, size

HOME_AND_CLEAR = "\x1b[H\x1b[J"
SHOWN = 20

Report = Mapping[str, Any]


def run(ask: Callable[[str], Report], period_s: float, count: int | None) -> int:
    """Show it until it is interrupted, or so many times. On a terminal each picture takes the place of the last."""
    terminal = sys.stdout.isatty()
    before: tuple[float, Report, Report] | None = None
    shown = 0
    while count is None or shown < count:
        now = time.monotonic(), ask("status"), ask("clients")
        if before is not None:
            lines = [printable(line) for line in picture(before, now)]
            if terminal:
                # The window may be another one each time. A line that is wrapped, or one too many, moves all others.
                columns, rows = os.get_terminal_size(sys.stdout.fileno())
                lines = fitted(lines, columns, rows)
            print((HOME_AND_CLEAR if terminal else "") + "\n".join(lines), flush=True)
            shown += 1
            if count is not None and shown >= count:
                break
        before = now
        time.sleep(period_s)
    return 0


def fitted(lines: list[str], columns: int, rows: int) -> list[str]:
    """As much of the lines as a window shows; a size of 0 is one that is not known."""
    if rows > 1:
        lines = lines[: rows - 1]
    return [line[:columns] for line in lines] if columns > 0 else lines


def picture(before: tuple[float, Report, Report], now: tuple[float, Report, Report]) -> Iterator[str]:
    """The lines; each argument is the time in seconds, the status and the clients."""
    seconds = max(1e-3, now[0] - before[0])
    old, new = before[1], now[1]

    def rate(*path: str) -> float:
        return (_number(new, *path) - _number(old, *path)) / seconds

    router, loop = new.get("router", {}), new.get("loop", {})
    well = "" if router.get("healthy", True) else "  NOT WELL"
    yield f"clasp-edge {router.get('name', '?')}  up {duration(router.get('uptime_s', 0))}{well}"
    signals = {name: rate("messages", "by_signal", name) for name in new.get("messages", {}).get("by_signal", {})}
    yield f"messages/s  {_named(signals)}   deliveries/s {rate('messages', 'deliveries'):,.0f}"
    yield (
        f"cpu {100 * rate('loop', 'cpu_s'):.0f} %   loop {loop.get('lag_s', 0) * 1000:.1f} ms late, "
        f"at worst {loop.get('worst_lag_s', 0) * 1000:.0f}   memory {size(_number(new, 'memory', 'resident_bytes'))}   "
        f"params {_number(new, 'params', 'count'):,.0f}"
    )
    drops = {name.replace("_", " "): rate("drops", name) for name in new.get("drops", {})}
    yield f"lost/s      {_named(drops)}"
    for kind in ("uplinks", "bridges"):
        for name, told in new.get(kind, {}).items():
            queued = told.get("queue", told.get("queued", 0))
            yield f"{kind[:-1]:<11} {name}: {told.get('state', '?')}, {queued:,} queued"
    for name, told in new.get("federation", {}).get("peers", {}).items():
        yield f"peer        {told.get('name') or name}: {told.get('state', '?')}, {told.get('queue', 0):,} queued"
    yield ""
    yield f"{'client':<28} {'address':<24} {'in/s':>8} {'out KiB/s':>10} {'waits':>10} {'lost':>7}"
    earlier = {client["id"]: client for client in before[2].get("clients", [])}
    rows = [_row(client, earlier.get(client["id"]), seconds) for client in now[2].get("clients", [])]
    # Whoever is slow or loses something first, then whoever sends most.
    rows.sort(key=lambda row: (-row[4], -row[3], -row[1], -row[2]))
    for client, incoming, outgoing, waits, lost in rows[:SHOWN]:
        name = str(client.get("name") or client.get("id", "?"))[:28]
        yield (
            f"{name:<28} {client.get('address') or 'away'!s:<24} {incoming:>8,.0f} {outgoing:>10,.1f} "
            f"{size(waits):>10} {lost:>7,.0f}{'  slow' if client.get('slow') else ''}"
        )
    if len(rows) > SHOWN:
        yield f"and {len(rows) - SHOWN} more"


def _row(client: Report, old: Report | None, seconds: float) -> tuple[Report, float, float, float, float]:
    old = client if old is None else old

    def rate(key: str) -> float:
        return max(0.0, _number(client, key) - _number(old, key)) / seconds

    return client, rate("received"), rate("sent_bytes") / 1024, client.get("queued_bytes", 0), client.get("drops", 0)


def _number(report: Report, *path: str) -> float:
    found: Any = report
    for key in path:
        found = found.get(key, 0) if isinstance(found, Mapping) else 0
    return float(found) if isinstance(found, int | float) else 0.0


def _named(rates: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:,.0f}" for name, value in rates.items() if value >= 0.5) or "none"
