"""The arguments of the commands that ask a running daemon, apart from what they do."""

from __future__ import annotations

import argparse

from clasp_edge.cli.parser import Parser
from clasp_edge.cli.patterns import number, seconds, text_of

COMMANDS = frozenset({"status", "metrics", "resync", "release", "clients", "kick", "reload", "top", "why", "support"})


def add_parsers(commands: argparse._SubParsersAction[Parser], source: Parser) -> None:
    """Add the commands; `source` has the options that say which configuration, and so which daemon, is meant."""
    status = commands.add_parser(
        "status",
        parents=[source],
        help="show status",
        description="Say how the running router is: who is connected, what is kept, what was dropped.",
    )
    status.add_argument("--json", action="store_true", help="print one JSON object")
    commands.add_parser(
        "metrics",
        parents=[source],
        help="print the running router's metrics",
        description="Print the running router's metrics as Prometheus reads them at /metrics.",
    )
    resync = commands.add_parser(
        "resync",
        parents=[source],
        help="resend current values to OSC devices",
        description="Have the running router send an OSC device the current values of its patterns again.",
    )
    which = resync.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "target", nargs="?", metavar="TARGET", help="the name of an osc.target, or the host:port of a device that asked"
    )
    which.add_argument("--all", action="store_true", help="every OSC device")
    clients = commands.add_parser(
        "clients",
        parents=[source],
        help="list who is connected to the running router",
        description="List the clients of the running router, and the MQTT clients whose sessions it keeps.",
    )
    clients.add_argument("--json", action="store_true", help="everything, as one JSON object")
    commands.add_parser(
        "support",
        parents=[source],
        help="print a bundle for who helps: status, configuration, log, no secrets",
        description="Print status, clients, the configuration without tokens and passwords, and the last lines of the "
        "log, as one JSON object: what somebody who helps from afar asks for first.",
    )
    kick = commands.add_parser(
        "kick",
        parents=[source],
        help="close a client's connection",
        description="Close a client's connection. It may connect again; a token is taken back by `clasp-edge token`.",
    )
    kick.add_argument("id", metavar="ID", help="as `clasp-edge clients` shows it, or a name that only one client has")
    commands.add_parser(
        "reload",
        parents=[source],
        help="have the running router read its configuration again",
        description="Have the running router read its configuration again, as SIGHUP does, and say what was taken over "
        "and what needs a restart. With a fault in it nothing is changed, and the exit status is 1.",
    )
    why = commands.add_parser(
        "why",
        parents=[source],
        help="show the way of one address: who writes, who is told, what is in the way",
        description="Show the way of one address through the running router: who has written it, who is told, which "
        "uplinks carry it, which rules look at it, and what may be in the way. Exit status 1 where something is.",
    )
    why.add_argument("address", type=text_of, metavar="ADDRESS", help="such as /stage/lamp/1")
    why.add_argument("--json", action="store_true", help="print one JSON object")
    top = commands.add_parser(
        "top",
        parents=[source],
        help="watch the running router: rates, slow clients, losses",
        description="Watch the running router: rates, who sends most, who reads too slowly, what is lost.",
    )
    top.add_argument("--every", type=seconds, default=2.0, metavar="SECONDS", help="how often (default: 2)")
    top.add_argument("--count", type=number, metavar="N", help="end after so many pictures")
    release = commands.add_parser(
        "release",
        parents=[source],
        help="let another token have a router id",
        description="Let the next token that dials in under a router id have it. An id belongs to the token that first "
        "dialled in with it, so that no other router can take its place.",
    )
    release.add_argument("router", metavar="ROUTER_ID", help="as the box's `clasp-edge status` shows it")
