"""The arguments of the commands that ask a running daemon, apart from what they do."""

from __future__ import annotations

import argparse

COMMANDS = frozenset({"resync"})


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser], source: argparse.ArgumentParser) -> None:
    """Add the commands; `source` has the options that say which configuration, and so which daemon, is meant."""
    resync = commands.add_parser(
        "resync",
        parents=[source],
        help="send OSC devices the current values of their patterns again",
        description="Have the running router send an OSC device the current values of its patterns again.",
    )
    which = resync.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "target", nargs="?", metavar="TARGET", help="the name of an osc.target, or the host:port of a device that asked"
    )
    which.add_argument("--all", action="store_true", help="all of them")
