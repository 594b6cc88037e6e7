"""`python -m benchmarks`: runs the workloads at every peer in turn, prints tables, writes results/.

Responsible for: the command line and the order of runs. Must not know: what a workload is made of.

Peers take turns within each round (A B C, A B C, A B C), each run with a fresh process, so that a machine that gets
slower or busier for a while does so for all of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from benchmarks import build, footprint, load, results, tables
from benchmarks.processes import PEERS, Peer, PeerError, running
from benchmarks.requirements import verdicts
from benchmarks.workloads import BROKER, CLASP_ONLY, FOOTPRINTS, QUIC_ONLY, QUIC_PEERS, WORKLOADS, Workload

ROUNDS = 3


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure this daemon beside others.")
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it runs, not how fast")
    parser.add_argument("--rounds", type=int, help=f"rounds per workload (default {ROUNDS}, 1 with --quick)")
    parser.add_argument("--only", action="append", metavar="NAME", help="a workload or the start of its name; repeats")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated (default %(default)s)")
    parser.add_argument("--list", action="store_true", help="name the workloads and end")
    parser.add_argument("--build-peers", action="store_true", help="build the reference router with cargo and end")
    args = parser.parse_args(argv)
    unknown = set(args.peers.split(",")) - set(PEERS)
    if unknown:
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    if args.only and not any(_chosen(name, args.only) for name in (*[w.name for w in WORKLOADS], *FOOTPRINTS)):
        parser.error(f"no such workload: {', '.join(args.only)}; --list names them")
    return args


def _chosen(name: str, only: Sequence[str] | None) -> bool:
    return not only or any(name == o or name.startswith(o.rstrip("*")) for o in only)


def _groups(workloads: Sequence[Workload]) -> Iterator[list[Workload]]:
    """Workloads that are compared with each other together, the others alone; in the order listed."""
    groups: dict[str, list[Workload]] = {}
    for w in workloads:
        groups.setdefault(w.group or w.name, []).append(w)
    yield from groups.values()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _run_load(
    peers: list[Peer], group: list[Workload], program: str, rounds: int, quick: bool, found: results.Results
) -> None:
    quic_program = build.quic_load()
    if group[0].quic and quic_program is None:
        _say(f"skipped {group[0].title}: `make bench-peers` builds the load generator for QUIC")
        return
    for number in range(rounds):
        for w in group:
            for peer in peers:
                if not w.runs_on(peer.name) or (w.name, peer.name) in found.failures:
                    continue
                try:
                    extra = (*(peer.osc if w.osc else ()), *(peer.mqtt if w.mqtt else ()))
                    extra = peer.quic if w.quic else extra
                    with running(peer, *extra, rules=w.rules) as process:
                        arguments = w.arguments(quick, process.osc_port, process.mqtt_port)
                        if w.quic:
                            assert quic_program is not None
                            arguments += peer.quic_load
                            done = load.run(quic_program, process.quic_port, process.pid, arguments)
                        else:
                            done = load.run(build.BUILD / program, process.port, process.pid, arguments)
                except (PeerError, load.LoadError) as error:
                    found.failures[w.name, peer.name] = str(error)
                    _say(f"{w.name} {peer.name}: {error}")
                    continue
                found.add(w.name, peer.name, done)
                _say(
                    f"{w.name} {number + 1}/{rounds} {peer.name}: {done.handled_per_s:,.0f}/s"
                    f" · {done.cpu_us_per_handled:.2f} µs, lost {done.lost_percent:.2g} %"
                )


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    if args.list:
        for name, title in [*((w.name, w.title) for w in WORKLOADS), *FOOTPRINTS.items()]:
            print(f"{name:18} {title}")
        return 0
    try:
        if args.build_peers:
            print(build.build_reference_router())
            return 0
        program = build.load_generator()
    except build.BuildError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    peers = []
    for name in args.peers.split(","):
        peer = PEERS[name]()
        if peer.missing:
            _say(f"skipped {peer.title}: {peer.missing}")
        else:
            peers.append(peer)

    found = results.Results()
    rounds = args.rounds or (1 if args.quick else ROUNDS)
    workloads = [w for w in WORKLOADS if _chosen(w.name, args.only)]
    for group in _groups(workloads):
        _run_load(peers, group, program.name, rounds, args.quick, found)
    for name in FOOTPRINTS:
        for peer in peers if _chosen(name, args.only) else []:
            if peer.name in BROKER:
                continue
            try:
                values = footprint.measure(name, peer, program, args.quick)
            except (PeerError, load.LoadError) as error:
                found.failures[name, peer.name] = str(error)
                _say(f"{name} {peer.name}: {error}")
                continue
            if values:
                found.footprints[name, peer.name] = values
                _say(f"{name} {peer.name}: " + ", ".join(f"{k} {v:.3f}" for k, v in values.items()))

    names = [peer.name for peer in peers]
    judged = verdicts(found)
    shown = [v for v in judged if v.value is not None or v.ceiling is not None] if args.only else judged
    print(f"\n{results.machine()}; {rounds} rounds, medians; CPU is the server's, in µs per handled message")
    routers = [name for name in names if name not in BROKER | QUIC_ONLY]
    brokers = [name for name in names if name not in CLASP_ONLY | QUIC_ONLY]
    for table in (
        tables.load_table(found, [w for w in workloads if not w.mqtt and not w.quic], routers),
        tables.load_table(found, [w for w in workloads if w.mqtt], brokers, other="mosquitto"),
        tables.load_table(found, [w for w in workloads if w.quic], [name for name in names if name in QUIC_PEERS]),
        tables.footprint_table(found, [name for name in names if name not in BROKER]),
    ):
        if table:
            print(f"\n{table}")
    if shown:
        print(f"\n{tables.verdict_table(shown)}")
    path = results.write(found, [{**vars(v), "holds": v.holds} for v in judged], build.HERE / "results")
    print(f"\n{path.relative_to(build.ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
