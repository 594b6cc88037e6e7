"""The arguments of `clasp-edge user`, apart from what they do."""

from __future__ import annotations

import argparse
from pathlib import Path

from clasp_edge.cli.parser import Parser
from clasp_edge.cli.patterns import scopes as scope_texts


def add_parser(commands: argparse._SubParsersAction[Parser], source: Parser) -> None:
    """Add `user` with its own commands; `source` has the options that say which configuration is meant."""
    parser = commands.add_parser("user", help="user names and passwords of MQTT clients (docs/security.md)")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, parents=[source], help=text, description=text[0].upper() + text[1:] + ".")

    new = add("add", "make a user; the password is asked for, or read from standard input")
    scopes = add("scopes", "let a user do this, and nothing else, from now on")
    for command in (new, scopes):
        command.add_argument("name", metavar="NAME")
        command.add_argument(
            "--scope",
            type=scope_texts,
            action="append",
            default=[],
            metavar="SCOPE",
            help="read:/**, write:/mqtt/%%c/** ...; %%u is the user's name, %%c the client identifier",
        )
    add("list", "all users").add_argument("--json", action="store_true", help="as one JSON object")
    for name, text in (
        ("passwd", "give a user another password; sessions that were opened with the old one end"),
        ("remove", "take a user out; its sessions end before their next message"),
    ):
        add(name, text).add_argument("name", metavar="NAME")
    bring = add("import", "take over the users and rights of a Mosquitto broker; those that are there stay")
    bring.add_argument("passwords", type=Path, metavar="PASSWORD_FILE", help="as mosquitto_passwd writes it")
    bring.add_argument("--acl", type=Path, metavar="ACL_FILE", help="what they may do (acl_file of mosquitto.conf)")
    bring.add_argument(
        "--scope",
        type=scope_texts,
        action="append",
        default=[],
        metavar="SCOPE",
        help="what each may do besides; without --acl needed",
    )
