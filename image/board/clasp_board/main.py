"""The board's programs by name. Knows which exist; imports only the one that is asked for."""

from __future__ import annotations

import sys

USAGE = """usage: clasp-edge-board start | confirm | watch | radio INTERFACE | kernel a|b DIRECTORY
       clasp-edge-board box [--with-secrets]
       clasp-edge-board update FILE [--reboot] [--allow-older]"""


def main(arguments: list[str]) -> int:
    """Run the program that `arguments` begin with; its exit status."""
    match arguments:
        case ["start"]:
            from clasp_board.start import start

            return start()
        case ["confirm"]:
            from clasp_board.confirm import confirm

            return confirm()
        case ["watch"]:
            from clasp_board.watch import watch

            return watch()
        case ["radio", interface]:
            from clasp_board.supplicant import power_save_off

            print(power_save_off(interface) or f"{interface}: power saving is off")
            return 0
        case ["kernel", slot, directory]:
            from clasp_board.kernel_start import main as start_kernel

            return start_kernel(slot, directory)
        case ["box", *rest]:
            from clasp_board.box_file import main as box

            return box(rest)
        case ["update", *rest]:
            from clasp_board.update import main as update

            return update(rest)
        case _:
            print(USAGE, file=sys.stderr)
            return 2
