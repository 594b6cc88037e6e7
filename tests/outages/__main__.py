"""`make outages`: every scenario, long and again and again, or (`--histories 500`) random histories, or (`--upgrade
REVISION`) beside routers of an older version.

Scenarios need root. Ends with 1 at a broken promise.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from outages.cluster import run_cluster
from outages.histories import run_histories
from outages.pairs import run_pairs
from outages.scenarios import SCENARIOS, perform, stage
from outages.upgrade import run_upgrades
from support.federation_net import Net, why_not


def main() -> int:
    parser = argparse.ArgumentParser(prog="outages", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each fault lasts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--histories", type=int, default=0, help="random histories instead, so many (histories.py)")
    parser.add_argument("--first", type=int, default=1, help="seed of the first history")
    parser.add_argument("--only", default="", help="scenarios (or topologies) with this in their names")
    parser.add_argument("--pairs", type=int, default=0, help="random histories of a pair of hubs (pairs.py), so many")
    parser.add_argument("--cluster", type=int, default=0, help="histories of hubs on a cluster (cluster.py), so many")
    parser.add_argument("--faults", type=int, default=6, help="faults in each of them")
    parser.add_argument("--upgrade", default="", help="beside routers of this revision of the repository")
    options = parser.parse_args()
    if options.upgrade:
        return run_upgrades(options.upgrade)
    if options.cluster:
        return run_cluster(options.first, options.cluster, options.faults)
    if options.pairs:
        return run_pairs(options.first, options.pairs, options.seconds)
    if options.histories:
        return run_histories(options.first, options.histories, options.seconds, options.only)
    if reason := why_not():
        print(f"outages: {reason}", file=sys.stderr)
        return 2
    broken = 0
    for number in range(options.rounds):
        for scenario in SCENARIOS:
            if options.only not in scenario.name:
                continue
            try:
                with Net("hub", "a", "b") as net:
                    stage(net)
                    perform(net, scenario, f"round{number}", options.seconds, timeout_s=180.0)
            except AssertionError:
                traceback.print_exc()
                broken += 1
            sys.stdout.flush()
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
