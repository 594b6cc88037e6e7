"""The arguments of the commands that talk to a router as a client, apart from what they do."""

from __future__ import annotations

import argparse
import os

from clasp_edge.cli.parser import Parser
from clasp_edge.cli.patterns import number, pattern, seconds, text_of, whole

COMMANDS = frozenset({"get", "set", "emit", "unset", "watch", "bundle", "replay", "backup", "restore", "bench"})

DISCOVER = "discover"

DEFAULT_URL = "ws://127.0.0.1:7330"


def add_parsers(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the commands."""
    router = Parser(add_help=False)
    router.add_argument(
        "--url",
        default=os.environ.get("CLASP_EDGE_URL", DEFAULT_URL),
        help=f"the router, or discover:NAME (default: $CLASP_EDGE_URL, else {DEFAULT_URL})",
    )
    router.add_argument("--token", default=os.environ.get("CLASP_EDGE_TOKEN", ""), help="default: $CLASP_EDGE_TOKEN")
    router.add_argument("--token-file", metavar="FILE", help="a file that holds the token")
    router.add_argument("--tls-pin", default="", metavar="sha256:...", help="fingerprint of the router's certificate")
    router.add_argument("--tls-ca", default="", metavar="FILE", help="authorities of the router's certificate")

    router.add_argument(
        "--name",
        default="",
        metavar="NAME",
        help="find the router in the local network, by its name or id, in place of --url",
    )

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, parents=[router], help=text, description=text[0].upper() + text[1:] + ".")

    discover = commands.add_parser(
        DISCOVER,
        help="list the routers that answer in the local network",
        description="Look for routers in the local network, by mDNS and by broadcast, and list those that answer.",
    )
    discover.add_argument("--json", action="store_true", help="one JSON object per line")
    discover.add_argument("--for", dest="for_s", type=seconds, default=2.0, metavar="SECONDS", help="how long; else 2")
    get = add("get", "print params: one address, or all that match a pattern")
    get.add_argument("pattern", type=pattern, metavar="ADDRESS", help="an address or a pattern such as '/lights/**'")
    get.add_argument("--json", action="store_true", help="one JSON object per line, with revision and writer")
    put = add("set", "set a param")
    put.add_argument("address", type=text_of, metavar="ADDRESS")
    put.add_argument("value", type=text_of, metavar="VALUE", help="JSON; what is no JSON is text")
    put.add_argument("--ttl", type=whole, metavar="SECONDS", help="how long it stays")
    put.add_argument("--lock", action="store_true", help="keep others from writing it, as long as this session lives")
    emit = add("emit", "publish an event, or another signal that is not remembered")
    emit.add_argument("address", type=text_of, metavar="ADDRESS")
    emit.add_argument("value", type=text_of, nargs="?", metavar="VALUE", help="JSON; what is no JSON is text")
    emit.add_argument("--signal", choices=("event", "stream", "gesture"), default="event")
    add("unset", "forget params, everywhere").add_argument("addresses", type=text_of, nargs="+", metavar="ADDRESS")
    watch = add("watch", "print what happens, as it happens")
    watch.add_argument(
        "patterns", type=pattern, nargs="*", default=["/**"], metavar="PATTERN", help="default: everything"
    )
    watch.add_argument("--json", action="store_true", help="one JSON object per line")
    watch.add_argument("--count", type=number, metavar="N", help="end after so many lines")
    watch.add_argument("--for", dest="for_s", type=seconds, metavar="SECONDS", help="end after so long")
    watch.add_argument("--no-state", action="store_true", help="only what happens from now on")
    bundle = add("bundle", "carry out several writes at once, all or none")
    bundle.add_argument("file", nargs="?", default="-", help="lines 'set ADDRESS VALUE' or 'emit ADDRESS [VALUE]'")
    bundle.add_argument("--at", metavar="TIME", help="when: +2.5 (seconds from now) or Unix time in seconds")
    replay = add("replay", "print what the router's journal has")
    replay.add_argument("pattern", type=pattern, nargs="?", default="/**", metavar="PATTERN")
    replay.add_argument("--from", dest="begins", metavar="TIME", help="-60 (seconds ago) or Unix time in seconds")
    replay.add_argument("--to", dest="ends", metavar="TIME")
    replay.add_argument("--limit", type=number, default=1000, metavar="N")
    replay.add_argument("--json", action="store_true", help="one JSON object per line")
    backup = add("backup", "keep the params of a part of the tree in a file")
    backup.add_argument("file", metavar="FILE", help="- for standard output")
    backup.add_argument("pattern", type=pattern, nargs="?", default="/**", metavar="PATTERN")
    restore = add("restore", "set the params of a file again; shows what would change, and asks")
    restore.add_argument("file", metavar="FILE", help="- for standard input, with --yes or --dry-run")
    restore.add_argument("pattern", type=pattern, nargs="?", default="/**", metavar="PATTERN")
    restore.add_argument("--yes", action="store_true", help="do not ask")
    restore.add_argument("--dry-run", action="store_true", help="only show what would change")
    bench = add("bench", "put a small load on a router and measure it")
    bench.add_argument("--seconds", type=seconds, default=5.0, help="how long (default: 5)")
    bench.add_argument("--window", type=number, default=100, help="writes that wait for their ACK at once")
