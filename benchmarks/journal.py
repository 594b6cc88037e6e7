"""What the journal costs: `python -m benchmarks.journal` prints it as a table.

Responsible for: the modes side by side in the same rounds, bytes written per message, what the log takes, the time of
a restore. Bytes are the kernel's count of what a process caused to be written (write_bytes in /proc/PID/io).
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import build, load
from benchmarks.processes import OURS_ALONE, OURS_SETTINGS, Peer, Running, ours, running, rust

MODES = ("volatile", "group", "strict")
ROUNDS = 3
RATES = (1, 100, 10_000)
PARAMS = 100_000


def written(pid: int) -> int:
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise RuntimeError("the kernel does not count bytes written")


def peer(mode: str) -> tuple[str, ...]:
    return ("--set", f"journal.mode={mode}")


def measure(program: Path, process: Running, args: str) -> load.LoadResult:
    return load.run(program, process.port, process.pid, args.split())


def contestants() -> dict[str, tuple[Peer, tuple[str, ...], str]]:
    """By name: how to start it, and the name of what it is compared with. The reference only where it has been built
    with a journal."""
    found = {mode: (ours(), peer(mode), "volatile") for mode in MODES}
    reference = rust()
    if not reference.missing:
        built_with = subprocess.run([reference.command[0], "--features"], capture_output=True, text=True, check=False)
        if "journal" in built_with.stdout.split():
            found["reference without"] = (reference, (), "reference without")
            found["reference with"] = (reference, ("--journal", "{file}.sqlite"), "reference without")
    return found


def side_by_side(program: Path, title: str, args: str, rounds: int, *, only_ours: bool = False) -> None:
    """Each round measures all one after the other, every second one in the opposite order; ratios are medians of the
    rounds' own."""
    chosen = {name: how for name, how in contestants().items() if how[0].name == "ours" or not only_ours}
    found: dict[str, list[load.LoadResult]] = {name: [] for name in chosen}
    for number in range(rounds):
        for name in list(chosen)[:: 1 if number % 2 == 0 else -1]:
            how, extra, _ = chosen[name]
            with running(how, *extra) as process:
                found[name].append(measure(program, process, args))
    for name, results in found.items():
        base = found[chosen[name][2]]
        rate = statistics.median(r.handled_per_s for r in results)
        cpu = statistics.median(r.cpu_us_per_handled for r in results)
        p50 = statistics.median(r.p50_us for r in results)
        p99 = statistics.median(r.p99_us for r in results)
        of_rate = statistics.median(r.handled_per_s / b.handled_per_s for r, b in zip(results, base, strict=True))
        of_cpu = statistics.median(
            r.cpu_us_per_handled / b.cpu_us_per_handled for r, b in zip(results, base, strict=True)
        )
        of_p99 = statistics.median(r.p99_us / b.p99_us for r, b in zip(results, base, strict=True))
        print(
            f"| {title} | {name} | {rate:,.0f} · {of_rate:.2f} | {cpu:.2f} · {of_cpu:.2f} | {p50:,.0f} |"
            f" {p99:,.0f} · {of_p99:.2f} |",
            flush=True,
        )


def bytes_per_message(program: Path, seconds: float) -> None:
    for mode in ("group", "strict"):
        for rate in RATES:
            with running(ours(), *peer(mode)) as process:
                time.sleep(0.5)
                before = written(process.pid)
                result = measure(program, process, f"--rate {rate} --duration {seconds} --warmup 0")
                time.sleep(0.5)
                total = written(process.pid) - before
            sent = result.raw["sent"]
            per_8h = total / seconds * 8 * 3600 / 1e9
            print(f"| {mode} | {rate:,} | {total / sent:,.0f} | {per_8h:.2f} |", flush=True)


def kept_in(directory: Path) -> Peer:
    """This daemon, in mode `group`, with its data in `directory`."""
    settings = {"websocket.listen": "127.0.0.1:{port}", "data_dir": str(directory), **OURS_SETTINGS, **OURS_ALONE}
    settings["journal.mode"] = "group"
    sets = tuple(part for key, value in settings.items() for part in ("--set", f"{key}={value}"))
    return Peer("kept", "kept", (sys.executable, "-m", "clasp_edge", "run", *sets))


def stat(directory: Path) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-m", "clasp_edge", "journal", "stat", "--json", "--set", f"data_dir={directory}"],
        capture_output=True, text=True, cwd=build.ROOT, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def log_rate(program: Path) -> None:
    print("\n| SET/s offered | records stored per s | MB/s written |\n|---|---|---|")
    for rate in ("--rate 100000", "--rate 300000", "--window 2000"):
        directory = Path(tempfile.mkdtemp(prefix="clasp-bench-journal-"))
        try:
            with running(kept_in(directory)) as process:
                result = measure(program, process, f"--subscribers 0 {rate} --duration 3 --warmup 0")
                time.sleep(1)
                total = written(process.pid)
            wall_s = result.raw["wall_s"]
            offered, stored = result.raw["sent"] / wall_s, stat(directory)["log_last"] / wall_s
            print(f"| {offered:,.0f} | {stored:,.0f} | {total / wall_s / 1e6:.0f} |", flush=True)
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def restore(program: Path) -> None:
    directory = Path(tempfile.mkdtemp(prefix="clasp-bench-journal-"))
    try:
        kept = kept_in(directory)
        with running(kept) as process:
            measure(program, process, f"--subscribers 0 --addresses {PARAMS} --count {PARAMS} --warmup 0")
        starts = []
        for _ in range(3):
            with running(kept) as process:
                starts.append(process.start_s)
        with running(ours()) as process:
            bare_s = process.start_s
        start_s = statistics.median(starts)
        print(f"restore: {start_s:.2f} s from start to ready with {PARAMS:,} params, {bare_s:.2f} s with none")
        found = stat(directory)
        print(f"         the file has {found['file_bytes'] / 1e6:.1f} MB in {found['blocks']} blocks")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journal", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each rate of the bytes table")
    parser.add_argument("--only", choices=("load", "bytes", "records", "restore"), action="append")
    options = parser.parse_args()
    chosen = options.only or ["load", "bytes", "records", "restore"]
    program = build.load_generator()
    if "load" in chosen:
        print(
            "| workload | mode | per s · ratio | CPU µs · ratio | p50 µs | p99 µs · ratio |\n|---|---|---|---|---|---|"
        )
        side_by_side(program, "SET 1→1, window 500", "--window 500 --duration 3 --warmup 5000", options.rounds)
        side_by_side(program, "SET 1→1 at 10,000/s", "--rate 10000 --duration 3 --warmup 5000", options.rounds)
        side_by_side(
            program,
            "SET 1→1, 100,000 addresses",
            "--addresses 100000 --duration 3 --warmup 100000",
            options.rounds,
            only_ours=True,
        )
    if "bytes" in chosen:
        print("\n| mode | messages/s | bytes per message | GB in 8 h |\n|---|---|---|---|")
        bytes_per_message(program, options.seconds)
    if "records" in chosen:
        log_rate(program)
    if "restore" in chosen:
        restore(program)
    return 0


if __name__ == "__main__":
    sys.exit(main())
