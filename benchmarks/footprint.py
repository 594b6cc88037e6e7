"""Start-up time, idle cost and memory of a peer: what needs looking at a process rather than loading it.

Responsible for: these measurements. Must not know: how they are judged or shown.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks import attacks, build, load
from benchmarks.processes import Peer, ours, running
from benchmarks.workloads import QUIC_ONLY

SETTLE_S = 2.0
IDLE_S = 10.0
STARTS = 5
SESSIONS = 1000
HOSTS = 16
"""That connections over QUIC come from: one alone gets half of the time there is for handshakes."""
PARAMS = 100_000
RULE_STARTS = 3
MANY_RULES = "".join(
    f'[[rule]]\nid = "r{n}"\ntrigger = {{ type = "change", pattern = "/desk/{n}/*/on", to = true }}\n'
    f'when = [{{ address = "/mode/{n % 100}", eq = "night" }}]\n'
    f'do = [{{ set = "/light/{n}/{{1}}", value = 1.0 }}]\n'
    for n in range(10_000)
)


def _threads(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").iterdir())


def _status(path: Path, key: str) -> int:
    for line in (path / "status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    return 0


def _wakeups(pid: int) -> int:
    """How often any thread of the process went to sleep of its own accord: once for every time it was woken."""
    return sum(_status(thread, "voluntary_ctxt_switches") for thread in _threads(pid))


def _cpu_s(pid: int) -> float:
    """CPU time of all threads in seconds, with the scheduler's resolution."""
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in _threads(pid)) * 1e-9


def startup(peer: Peer) -> dict[str, float]:
    times = []
    for _ in range(STARTS):
        with running(peer) as process:
            times.append(process.start_s)
    return {"start_s": statistics.median(times)}


def idle(peer: Peer, seconds: float) -> dict[str, float]:
    with running(peer) as process:
        time.sleep(SETTLE_S)
        cpu_s, wakeups, start = _cpu_s(process.pid), _wakeups(process.pid), time.monotonic()
        time.sleep(seconds)
        elapsed_s = time.monotonic() - start
        return {
            "rss_mb": _status(Path(f"/proc/{process.pid}"), "VmRSS") / 1024,
            "cpu_percent": 100 * (_cpu_s(process.pid) - cpu_s) / elapsed_s,
            "wakeups_per_s": (_wakeups(process.pid) - wakeups) / elapsed_s,
        }


def sessions(peer: Peer, program: Path) -> dict[str, float]:
    """Sessions that subscribe to one pattern each and are silent."""
    args = f"--publishers 0 --subscribers 0 --idle {SESSIONS} --hold {SETTLE_S}".split()
    with running(peer) as process:
        raw = load.run(program, process.port, process.pid, args).raw
        return {"more_mb": (raw["rss_end_kib"] - raw["rss_start_kib"]) / 1024}


def params(peer: Peer, program: Path) -> dict[str, float]:
    """Params with 17-byte addresses and integer values."""
    args = f"--subscribers 0 --addresses {PARAMS} --count {PARAMS} --hold {SETTLE_S}".split()
    with running(peer) as process:
        raw = load.run(program, process.port, process.pid, args).raw
        return {"more_mb": (raw["rss_end_kib"] - raw["rss_start_kib"]) / 1024, "unacked": raw["unacked"]}


def rules(peer: Peer) -> dict[str, float]:
    """What a router with many rules takes more than one with none until it is ready, and until it has told of them:
    CPU of the process, and memory. In turns, because machines come and go."""
    cpu_s: dict[str, list[float]] = {"": [], MANY_RULES: []}
    told_s, rss_mb = 0.0, {"": 0.0, MANY_RULES: 0.0}
    for _ in range(RULE_STARTS):
        for text, times in cpu_s.items():
            with running(peer, rules=text) as process:
                times.append(_cpu_s(process.pid))
                time.sleep(SETTLE_S)
                told_s = _cpu_s(process.pid) - times[-1]
                rss_mb[text] = _status(Path(f"/proc/{process.pid}"), "VmRSS") / 1024
    return {
        "more_cpu_s": statistics.median(cpu_s[MANY_RULES]) - statistics.median(cpu_s[""]),
        "told_cpu_s": told_s,
        "more_mb": rss_mb[MANY_RULES] - rss_mb[""],
    }


def _quic(peer: Peer, *args: str) -> dict[str, Any] | None:
    program = build.quic_load()
    if program is None or not peer.quic:
        return None
    with running(peer, *peer.quic) as process:
        return load.run_raw(program, process.quic_port, process.pid, [*args, *peer.quic_load, "--hosts", str(HOSTS)])


def quic_sessions(peer: Peer, seconds: float) -> dict[str, float] | None:
    """Connections that say HELLO, subscribe to one pattern each and are silent, but for answers to PINGs."""
    raw = _quic(peer, "--idle", str(SESSIONS), "--hold", str(seconds))
    if raw is None:
        return None
    return {
        "more_mb": (raw["rss_end_kib"] - raw["rss_start_kib"]) / 1024,
        "cpu_percent": 100 * raw["hold_cpu_s"] / raw["hold_s"],
        "ended": raw["ended"],
    }


def quic_handshakes(peer: Peer, seconds: float) -> dict[str, float] | None:
    """Connections that begin, up to WELCOME, 16 at once from as many hosts."""
    raw = _quic(peer, "--handshakes", str(HOSTS), "--duration", str(seconds))
    if raw is None:
        return None
    return {
        "per_s": raw["handshakes"] / raw["wall_s"],
        "cpu_ms": 1000 * raw["server_cpu_s"] / raw["handshakes"],
        "failed": raw["failed"],
    }


def measure(name: str, peer: Peer, program: Path, quick: bool) -> dict[str, float] | None:
    """One of workloads.FOOTPRINTS; None where it means nothing for that peer. Raises PeerError, LoadError."""
    if name in attacks.ATTACKS:
        seconds = attacks.ATTACK_S / 4 if quick else attacks.ATTACK_S
        return attacks.measure(name, seconds) if peer.name == "ours" else None
    idle_s = IDLE_S / 4 if quick else IDLE_S
    if peer.name in QUIC_ONLY and not name.startswith("quic-"):
        return None
    match name:
        case "startup":
            return startup(peer)
        case "idle":
            return idle(peer, idle_s)
        case "idle-all":
            return idle(ours(everything=True), idle_s) if peer.name == "ours" else None
        case "rules":
            return rules(peer) if peer.name == "ours" else None
        case "quic-sessions":
            return quic_sessions(peer, 4 * idle_s)
        case "quic-handshakes":
            return quic_handshakes(peer, idle_s)
        case "sessions":
            return sessions(peer, program)
        case "params":
            return params(peer, program) if peer.name != "forwarder" else None
    raise KeyError(name)
