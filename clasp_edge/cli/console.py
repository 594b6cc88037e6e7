"""`clasp-edge resync`: asks the running daemon over its control socket and says what it answers.

Exit status 0 done, 1 the daemon says no, 3 no daemon was reached.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from clasp_edge.config.model import Config
from clasp_edge.console.client import NotReached, Refused, ask
from clasp_edge.console.place import places

EXIT_OK = 0
EXIT_REFUSED = 1
EXIT_NOT_REACHED = 3


def run(arguments: argparse.Namespace, config: Config, *, also_system: bool) -> int:
    """Carry out the command. `also_system`: nobody said which daemon, so the system's service will do as well."""
    try:
        return _resync(arguments, places(config, also_system=also_system))
    except Refused as refusal:
        print(f"clasp-edge: {refusal}", file=sys.stderr)
        return EXIT_REFUSED
    except NotReached as fault:
        print(f"clasp-edge: {fault}", file=sys.stderr)
        return EXIT_NOT_REACHED


def _resync(arguments: argparse.Namespace, sockets: list[Path]) -> int:
    request: dict[str, Any] = {"request": "resync"}
    request |= {"all": True} if arguments.all else {"target": arguments.target}
    targets = ask(sockets, request)["targets"]
    for target in targets:
        patterns = f"{target['patterns']} pattern{'s' if target['patterns'] != 1 else ''}"
        if target["reachable"]:
            print(f"{target['name']}: is sent the current values of its {patterns}")
        else:
            print(f"{target['name']}: its host is not found yet; when it is, it is sent the values of its {patterns}")
    if not targets:
        print("there are no OSC targets")
    return EXIT_OK
