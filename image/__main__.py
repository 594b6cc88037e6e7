"""python3 -m image lock | outdated | disk | image | bundle: see the Makefile, and docs/board.md."""

from __future__ import annotations

import sys

USAGE = "usage: python3 -m image image | disk | bundle | lock | outdated"


def main(arguments: list[str]) -> int:
    """Do what is asked; the exit status."""
    match arguments:
        case ["image"]:
            from image.build import build_image

            build_image()
        case ["disk"]:
            from image.build import build_disk

            build_disk()
        case ["bundle"]:
            from image.build import build_bundle

            build_bundle()
        case ["outdated"]:
            from image.lock import report_outdated

            return report_outdated()
        case ["lock"]:
            from image.lock import write_lock

            write_lock()
        case _:
            print(USAGE, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
