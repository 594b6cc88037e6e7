"""The arguments of `clasp-edge claim`, apart from what they do."""

from __future__ import annotations

import argparse

from clasp_edge.cli.parser import Parser


def add_parser(commands: argparse._SubParsersAction[Parser], source: Parser) -> None:
    """Add `claim`; `source` has the options that say which configuration is meant."""
    claim = commands.add_parser(
        "claim",
        parents=[source],
        help="make an open router one that asks for tokens (docs/security.md)",
        description="Make a token for its administrator and one for devices, and ask everybody for a token from now on."
        " Tells first which of those who are connected will be locked out.",
    )
    claim.add_argument("--report", action="store_true", help="only tell who would be locked out")
    claim.add_argument("--yes", action="store_true", help="do not ask")
    claim.add_argument(
        "--devices",
        action="append",
        default=[],
        metavar="NETWORK",
        help="MQTT and OSC devices of this network go on without a token, for example 192.168.1.0/24; may be repeated",
    )
