"""The arguments of `clasp-edge rules`, apart from what they do."""

from __future__ import annotations

import argparse
from pathlib import Path

from clasp_edge.cli.parser import Parser


def add_parser(commands: argparse._SubParsersAction[Parser], source: Parser) -> None:
    """Add `rules` with its own commands; `source` has the options that say which configuration is meant."""
    parser = commands.add_parser("rules", help="list, try and switch rules (docs/rules.md)")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(name: str, text: str, *, live: bool = True) -> argparse.ArgumentParser:
        parents = [source] if live else []
        return actions.add_parser(name, parents=parents, help=text, description=text[0].upper() + text[1:] + ".")

    listing = add("list", "the running router's rules, with counts")
    listing.add_argument("--json", action="store_true", help="as one JSON object")
    for name, text in (
        ("show", "one rule of the running router"),
        ("trace", "the last evaluations of a rule, with the reason of each no"),
        ("enable", "enable a rule of the running router"),
        ("disable", "disable a rule of the running router, until it is changed or the router starts again"),
    ):
        add(name, text).add_argument("id", metavar="ID", help="the rule's id")
    test = add("test", "run the rules of a file on lines from standard input, with a clock of its own", live=False)
    test.add_argument("file", type=Path, metavar="FILE", help="a TOML configuration, or JSON with rules")
    convert = add(
        "convert", "make [[rule]] tables of rules in JSON, exports of the desktop application included", live=False
    )
    convert.add_argument("file", type=Path, metavar="FILE", help="the JSON file")
