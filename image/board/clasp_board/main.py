"""The board's programs by name. Knows which exist; imports only the one that is asked for."""

from __future__ import annotations

import sys

USAGE = "usage: clasp-edge-board start | confirm | update FILE [--reboot] [--allow-older]"


def main(arguments: list[str]) -> int:
    """Run the program that `arguments` begin with; its exit status."""
    match arguments:
        case ["start"]:
            from clasp_board.start import start

            return start()
        case ["confirm"]:
            from clasp_board.confirm import confirm

            return confirm()
        case ["update", *rest]:
            from clasp_board.update import main as update

            return update(rest)
        case _:
            print(USAGE, file=sys.stderr)
            return 2
