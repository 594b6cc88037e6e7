"""`make crash`: hundreds of kills, more than a thousand power cuts. Ends with 1 at a broken promise."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from crash import cuts, kills


def main() -> int:
    parser = argparse.ArgumentParser(prog="crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="in all, half of them in each mode")
    parser.add_argument("--cuts", type=int, default=1200, help="in all, in runs of 200")
    options = parser.parse_args()
    for mode in ("strict", "group"):
        count = options.kills // 2
        began_s = time.monotonic()
        checked = kills.run(count, mode)
        print(f"{count} kills in {mode}: {checked} acknowledged writes, none missing that was promised "
              f"({time.monotonic() - began_s:.0f} s)", flush=True)  # fmt: skip
    for number in range(max(1, options.cuts // 200)):
        mode = ("strict", "group")[number % 2]
        began_s = time.monotonic()
        count = min(200, options.cuts)
        checked = cuts.run(count, 3.0, mode, seed=number + 1)
        took_s = time.monotonic() - began_s
        print(
            f"{count} power cuts in {mode}: every store readable, {checked} writes looked for ({took_s:.0f} s)",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
