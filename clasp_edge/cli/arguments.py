"""The whole command line: every command with its arguments, apart from what they do.

Imports nothing but arguments, so that the manual page and the completion can be made where nothing is compiled.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clasp_edge.cli import (
    claim_arguments,
    console_arguments,
    device_arguments,
    journal_arguments,
    remote_arguments,
    rules_arguments,
    token_arguments,
    user_arguments,
)
from clasp_edge.cli.parser import Parser
from clasp_edge.version import __version__

SYSTEM_CONFIG = Path("/etc/clasp-edge/clasp-edge.toml")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    whole = Parser(prog="clasp-edge", description="A CLASP router for single-board computers.")
    whole.add_argument("--version", action="version", version=f"clasp-edge {__version__}")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)

    source = Parser(add_help=False)
    source.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        help=f"configuration file (default: {SYSTEM_CONFIG} where it exists, else the embedded defaults)",
    )
    source.add_argument(
        "--set",
        dest="sets",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key, for example websocket.listen=127.0.0.1:7400; may be repeated",
    )
    run = commands.add_parser("run", parents=[source], help="start the router", description="Start the router.")
    check = commands.add_parser(
        "check",
        parents=[source],
        help="check a configuration",
        description='Print one line for each problem of the configuration and exit 1, or "ok" and exit 0.',
    )
    for command in (run, check):
        command.add_argument("file", nargs="?", type=Path, metavar="FILE", help="the same as --config FILE")
    console_arguments.add_parsers(commands, source)
    remote_arguments.add_parsers(commands)
    journal_arguments.add_parser(commands, source)
    rules_arguments.add_parser(commands, source)
    token_arguments.add_parser(commands, source)
    user_arguments.add_parser(commands, source)
    claim_arguments.add_parser(commands, source)
    device_arguments.add_parsers(commands)
    dnssd = commands.add_parser(
        "dnssd",
        parents=[source],
        help="print what systemd-resolved is to announce",
        description="Print the files by which systemd-resolved announces the router's services (systemd.dnssd(5)), "
        "or write them before it starts.",
    )
    dnssd.add_argument("--into", type=Path, metavar="DIRECTORY", help="for example /run/systemd/dnssd")
    completion = commands.add_parser(
        "completion",
        help="print the completion for a shell, or the manual page",
        description="Print the completion for bash or zsh, or the manual page: source <(clasp-edge completion bash).",
    )
    completion.add_argument("kind", choices=("bash", "zsh", "man", "addresses"))
    completion.add_argument("words", nargs="*", metavar="WORD", help="with addresses: what has been typed")
    commands.add_parser(
        "config",
        help="print the commented default configuration file",
        description="Print the default configuration file: the manual of every option.",
    )
    return whole
