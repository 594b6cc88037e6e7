"""The arguments of `clasp-edge journal`, apart from what they do: that needs LMDB, and most commands do not."""

from __future__ import annotations

import argparse

from clasp_edge.cli.parser import Parser
from clasp_edge.cli.patterns import host_and_port, pattern, speed, whole


def add_parser(commands: argparse._SubParsersAction[Parser], source: Parser) -> None:
    """Add `journal` with its own commands; `source` has the options that say which configuration is meant."""
    parser = commands.add_parser("journal", help="inspect the journal: records, params, size")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, parents=[source], help=text, description=text[0].upper() + text[1:] + ".")

    stat = add("stat", "what is kept, in numbers")
    tail = add("tail", "the newest records of the log")
    dump = add("dump", "the records of the log, oldest first")
    replay = add("replay", "send the log's records to a router (TCP listener), in the time they took")
    add("compact", "give unused space in the file back; the router must not be running")
    add("verify", "read everything and check it")
    trail = add("audit", "who logged in, what was refused, what administrators did")
    export = add("export", "every param as one line of JSON")
    restore = add("import", "put exported params into the store; the router must not be running")
    for command in (stat, tail, dump, trail):
        command.add_argument("--json", action="store_true", help="one JSON object per line")
    for command in (tail, dump, replay):
        command.add_argument(
            "pattern", type=pattern, nargs="?", help="only addresses that match, for example '/lights/**'"
        )
    tail.add_argument("-n", type=whole, default=10, metavar="COUNT", help="how many records (default 10)")
    tail.add_argument("-f", "--follow", action="store_true", help="keep printing new records")
    trail.add_argument("word", nargs="?", help="only entries with this word: a subject, a token, an address, an event")
    trail.add_argument("-n", type=whole, default=0, metavar="COUNT", help="only the newest COUNT (default: all)")
    trail.add_argument("-f", "--follow", action="store_true", help="keep printing new entries")
    trail.add_argument("--since", metavar="DURATION", help="only what is younger, for example 2h or 7d")
    replay.add_argument(
        "--to", type=host_and_port, required=True, metavar="HOST:PORT", help="the TCP listener to send to"
    )
    replay.add_argument("--token", default="", help="token for the HELLO")
    replay.add_argument("--speed", type=speed, default=1.0, help="2 is twice as fast, 0 as fast as possible")
    for command in (dump, replay):
        command.add_argument("--first", type=whole, default=0, metavar="RECORD", help="start at record number RECORD")
        command.add_argument("--limit", type=whole, default=None, metavar="COUNT", help="stop after COUNT records")
    export.add_argument("file", nargs="?", help="where to (default: standard output)")
    restore.add_argument("file", nargs="?", help="where from (default: standard input)")
