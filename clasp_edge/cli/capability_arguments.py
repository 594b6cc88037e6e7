"""The arguments of `clasp-edge token cap`, apart from what they do."""

from __future__ import annotations

import argparse
from pathlib import Path

from clasp_edge.cli.parser import Parser
from clasp_edge.cli.patterns import scopes


def add_parser(actions: argparse._SubParsersAction[Parser], source: Parser) -> None:
    """Add `cap` with its own commands to those of `token`."""
    parser = actions.add_parser("cap", help="capability tokens: made with a private key, checked with the public one")
    commands = parser.add_subparsers(dest="cap_action", metavar="COMMAND", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, parents=[source], help=text, description=text[0].upper() + text[1:] + ".")

    key = add("key", "make a private key in a file, or print the public key of one that is there")
    key.add_argument("file", type=Path, metavar="FILE")
    create = add("create", "make a token that begins a chain; boxes need the public key in security.trust_anchors")
    delegate = add("delegate", "make a narrower token from one that you hold")
    delegate.add_argument("token", metavar="TOKEN")
    for command in (create, delegate):
        command.add_argument("--key", type=Path, required=True, metavar="FILE", help="your private key")
        command.add_argument(
            "--scope", type=scopes, action="append", required=True, metavar="SCOPE", help="read:/**, ..."
        )
        command.add_argument("--expires", required=True, metavar="DURATION", help="30d, 12h, 15m")
        command.add_argument("--audience", metavar="KEY", help="the only key that may delegate it further")
    add("inspect", "print what a token says, checked or not").add_argument("token", metavar="TOKEN")
    verify = add("verify", "tell whether a token would be taken; exit status 1 if not")
    verify.add_argument("token", metavar="TOKEN")
    verify.add_argument(
        "--anchor", action="append", default=[], metavar="KEY", help="instead of security.trust_anchors"
    )
    add("revoke", "let a token count no more, by its nonce, or all that a key has signed").add_argument(
        "id", metavar="NONCE_OR_KEY"
    )
