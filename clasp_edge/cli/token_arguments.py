"""The arguments of `clasp-edge token`, apart from what they do."""

from __future__ import annotations

import argparse

from clasp_edge.cli import capability_arguments
from clasp_edge.cli.parser import Parser
from clasp_edge.cli.patterns import scopes


def add_parser(commands: argparse._SubParsersAction[Parser], source: Parser) -> None:
    """Add `token` with its own commands; `source` has the options that say which configuration is meant."""
    parser = commands.add_parser("token", help="make, list and revoke tokens (docs/security.md)")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, parents=[source], help=text, description=text[0].upper() + text[1:] + ".")

    new = add("new", "make a token; its secret is shown once")
    new.add_argument("name", metavar="NAME", help="who it is for")
    new.add_argument(
        "--scope",
        type=scopes,
        action="append",
        default=[],
        required=True,
        metavar="SCOPE",
        help="read:/**, write:/lights/** ...",
    )
    new.add_argument(
        "--quota",
        action="append",
        default=[],
        metavar="WHAT=NUMBER",
        help="messages_per_second=500, sessions=2, subscriptions=100: of all its bearers together",
    )
    new.add_argument("--expires", metavar="DURATION", help="30d, 12h, 15m; never without it")
    add("list", "all tokens").add_argument("--json", action="store_true", help="as one JSON object")
    for name, text in (
        ("show", "one token"),
        ("revoke", "withdraw a token; what it opened is closed before its next message"),
        ("rotate", "give a token a new secret; the old one is worth nothing from then on"),
    ):
        add(name, text).add_argument("name", metavar="NAME", help="its name or id")
    test = add("test", "tell whether a token allows something; exit status 1 if not")
    test.add_argument("token", metavar="TOKEN")
    test.add_argument("verb", metavar="ACTION", choices=("read", "write", "admin"))
    test.add_argument("address", metavar="ADDRESS")
    add("prune", "forget tokens that have expired")
    capability_arguments.add_parser(actions, source)
