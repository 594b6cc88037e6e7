"""What rules cost, in one run.

    nice -n 5 python -m benchmarks.rules [--messages N] [--pairs N] [--rules N]

Elsewhere: CPU of the daemon per SET 1→1 (window 500, heard by who sends it) with 1,000 rules that look at something
else, over that of one without rules; in pairs, one after the other, medians. Load: CPU of each step that reads so many
rules. Reload: the longest that one step of taking over so many rules holds the loop up, in CPU time of its thread.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.footprint import MANY_RULES
from benchmarks.streams import Tcp, windowed
from benchmarks.workloads import RULES_ELSEWHERE

WINDOW = 500


@contextmanager
def daemon(directory: Path, rules: str) -> Iterator[tuple[int, tuple[str, int]]]:
    """A daemon with these rules: its process, and where it speaks CLASP over TCP."""
    directory.mkdir()
    (directory / "rules.toml").write_text(rules)
    settings = {
        "websocket.listen": "off", "tcp.listen": "127.0.0.1:0", "mqtt.listen": "off", "osc.listen": "off",
        "data_dir": directory, "journal.mode": "off", "limits.messages_per_second": 0, "log.level": "warning",
        "discovery.listen": "off",
    }  # fmt: skip
    command = [sys.executable, "-m", "clasp_edge", "run", "-c", str(directory / "rules.toml")]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = next(line for line in process.stdout if line.startswith("ready "))
        try:
            yield process.pid, ("127.0.0.1", int(ready.rpartition(":")[2]))
        finally:
            process.terminate()


def elsewhere(messages: int, pairs: int) -> list[float]:
    """CPU per message with the rules, over that without, of each pair."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        with daemon(root / "with", RULES_ELSEWHERE) as rules, daemon(root / "without", "") as none:
            for pid, address in (rules, none):
                windowed((pid,), lambda at=address: Tcp(at), messages // 4, WINDOW)  # type: ignore[misc]
            found = []
            for number in range(pairs):
                used = {}
                # Who is first takes turns as well.
                for pid, address in (rules, none) if number % 2 else (none, rules):
                    used[pid] = windowed((pid,), lambda at=address: Tcp(at), messages, WINDOW)[0]  # type: ignore[misc]
                found.append(used[rules[0]] / used[none[0]])
            return found


def load(count: int) -> Iterator[tuple[str, float]]:
    """(step, s of CPU) of reading so many rules and taking them over; then the longest step of taking over others."""
    text = "[[rule]]".join(MANY_RULES.split("[[rule]]")[: count + 1])
    from clasp_edge.clock import Clock
    from clasp_edge.config.sources import read
    from clasp_edge.dataplane import Core, Plane
    from clasp_edge.rules.parse import read_rules
    from clasp_edge.rules.router_host import RouterHost

    gc.disable()
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(text)
        file.flush()
        began_s = time.process_time()
        tables = read(Path(file.name))["rule"]
        yield "TOML", time.process_time() - began_s
    assert isinstance(tables, list)

    began_s = time.process_time()
    rules = read_rules(tables, (), {}, lambda key, sentence: None)
    yield "rules from it", time.process_time() - began_s
    plane = Plane(Core(16, 1 << 20, 1 << 20), 1 << 16)
    host = RouterHost(plane, asyncio.new_event_loop(), Clock(), lambda scopes: None, lambda rule: None)
    began_s = time.process_time()
    host.load(rules, {})
    yield "taken over", time.process_time() - began_s
    changed = [{**table, "cooldown_s": 1} for table in tables]
    for title, others in (("the same", tables), ("others", changed)):
        longest = took = 0.0
        rules = read_rules(others, (), {}, lambda key, sentence: None)
        host.load_in_parts(rules, {}, lambda lost: None)
        while host.engine.busy:
            began_s = time.thread_time()
            host.engine.go_on()
            longest = max(longest, time.thread_time() - began_s)
            took += time.thread_time() - began_s
        yield f"reload, {title}: in all", took
        yield f"reload, {title}: longest step", longest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--rules", type=int, default=10_000)
    arguments = parser.parse_args()
    for step, took_s in load(arguments.rules):
        print(f"{arguments.rules} rules, {step}: {took_s * 1000:.1f} ms")
    ratios = sorted(elsewhere(arguments.messages, arguments.pairs))
    shown = " ".join(f"{ratio:.3f}" for ratio in ratios)
    print(f"SET 1→1 with 1,000 rules elsewhere: {statistics.median(ratios):.3f} x without ({shown})")


if __name__ == "__main__":
    main()
