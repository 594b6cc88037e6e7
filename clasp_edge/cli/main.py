"""The command line: reads the arguments, loads the configuration, hands over to the part that does the work.

Imports the process's parts only for `run`, so that every other command answers at once and needs no event loop.
Exit status: 0 done, 1 the configuration is wrong or the request refused, 2 it could not start or the arguments are
wrong, 3 no running router was reached, 4 what it prints could not be written, 130 ended by Ctrl-C (`run`, once it is
ready: 0).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from clasp_edge.cli import console_arguments, device_arguments, output, remote_arguments
from clasp_edge.cli.arguments import SYSTEM_CONFIG, parser
from clasp_edge.cli.service_user import become_service
from clasp_edge.config.load import ConfigError, default_text, load_config
from clasp_edge.config.model import Config, Uplink
from clasp_edge.daemon.cautions import cautions
from clasp_edge.daemon.rules_config import has_rules, read_configured
from clasp_edge.daemon.verify import load_verified, refuse_unusable_certificate

EXIT_OK = 0
EXIT_WRONG_CONFIG = 1
EXIT_NOT_STARTED = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` (default: the process's arguments) and return its exit status."""
    output.prepare()
    try:
        try:
            return _carry_out(parser().parse_args(argv))
        finally:
            output.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever reads has seen enough. What is still buffered must not be complained about at the exit.
        output.give_up()
        return EXIT_OK
    except OSError as error:
        if not output.is_of_output(error):
            raise
        output.give_up(f"its output cannot be written: {error.strerror}")
        return output.EXIT_NOT_WRITTEN


def _carry_out(arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "run":
            return _run(_config_path(_given_config(arguments)), arguments.sets)
        case "check":
            return _check(_config_path(_given_config(arguments)), arguments.sets)
        case "journal":
            return _journal(arguments)
        case name if name in device_arguments.COMMANDS:
            from clasp_edge.cli import device_commands

            return device_commands.run(arguments)
        case "completion":
            from clasp_edge.cli import completion

            if arguments.kind == completion.ADDRESSES:
                from clasp_edge.cli import typed_addresses

                return typed_addresses.run(arguments.words, parser)
            print(
                {"bash": completion.bash, "zsh": completion.zsh, "man": completion.man}[arguments.kind](parser()),
                end="",
            )
            return EXIT_OK
        case remote_arguments.DISCOVER:
            from clasp_edge.cli import discover

            return discover.run(arguments)
        case name if name in remote_arguments.COMMANDS:
            from clasp_edge.cli import remote_commands

            return remote_commands.run(arguments)
        case "dnssd":
            return _dnssd(arguments)
        case "rules" if arguments.action in ("test", "convert"):
            from clasp_edge.cli import rules

            return {"test": rules.test, "convert": rules.convert}[arguments.action](arguments.file)
        case name if name in ("rules", "token", "user", "claim") or name in console_arguments.COMMANDS:
            return _ask(arguments)
        case _:
            print(default_text(), end="")
            return EXIT_OK


def _given_config(arguments: argparse.Namespace) -> Path | None:
    """The file that `run` and `check` were given, in one way or the other."""
    if arguments.file is not None and arguments.config is not None and arguments.file != arguments.config:
        parser().error("FILE and --config name two configurations")
    given: Path | None = arguments.file or arguments.config
    return given


def _config_path(given: Path | None) -> Path | None:
    if given is None and SYSTEM_CONFIG.exists():
        return SYSTEM_CONFIG
    return given


def _check(path: Path | None, sets: list[str]) -> int:
    if path == SYSTEM_CONFIG:
        become_service()
    try:
        config = load_verified(path, sets)
        refuse_unusable_certificate(path, config)
    except ConfigError as error:
        print(error)
        return EXIT_WRONG_CONFIG
    for caution in cautions(config, path, sets):
        print(f"warning: {caution}")
    if has_rules(config):
        for remark in read_configured(config)[2]:
            print(f"note: {remark}")
    print("ok")
    return EXIT_OK


def _journal(arguments: argparse.Namespace) -> int:
    try:
        config = load_config(_config_path(arguments.config), arguments.sets)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_WRONG_CONFIG
    from clasp_edge.cli import journal

    return journal.run(arguments, config)


def _dnssd(arguments: argparse.Namespace) -> int:
    try:
        config = load_config(_config_path(arguments.config), arguments.sets)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_WRONG_CONFIG
    from clasp_edge.cli import dnssd

    return dnssd.run(config, arguments.into)


def _ask(arguments: argparse.Namespace) -> int:
    path = arguments.config
    # The system's file has secrets: who may use the socket may not be allowed to read it, and needs nothing from it.
    if path is None and os.access(SYSTEM_CONFIG, os.R_OK):
        path = SYSTEM_CONFIG
    try:
        config = load_config(path, arguments.sets)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_WRONG_CONFIG
    from clasp_edge.cli import claim, console, rules, token, user

    ask = {"rules": rules.run_live, "token": token.run, "user": user.run, "claim": claim.run}.get(
        arguments.command, console.run
    )
    return ask(arguments, config, also_system=path in (None, SYSTEM_CONFIG) and not arguments.sets)


def _run(path: Path | None, sets: list[str]) -> int:
    from clasp_edge.dataplane.system import decline_huge_pages, keep_heap_small

    decline_huge_pages()
    keep_heap_small()
    try:
        config = load_verified(path, sets)
    except ConfigError as error:
        for problem in error.problems:
            print(f"clasp-edge: {problem}", file=sys.stderr)
        if "NOTIFY_SOCKET" in os.environ:
            from clasp_edge.daemon.socket_activation import let_go

            let_go()
        return EXIT_NOT_STARTED
    if not _speaks_tls(config):
        from clasp_edge.daemon.no_tls import import_loop_without_tls

        # Nothing else in the configuration asks for TLS on the event loop.
        import_loop_without_tls()
    from clasp_edge.daemon.main import run

    return run(config, path, sets)


def _speaks_tls(config: Config) -> bool:
    """Whether the event loop has to know TLS: for an uplink, or for a listener."""
    if config.quic.listen is not None or any(
        part.tls_listen is not None for part in (config.websocket, config.tcp, config.mqtt)
    ):
        return True
    return any(_needs_tls(uplink, url) for uplink in config.uplink.values() for url in uplink.urls)


def _needs_tls(uplink: Uplink, url: str) -> bool:
    # With a pin, what is discovered is encrypted.
    return url.startswith("wss:") or (url.startswith("discover:") and bool(uplink.tls_pin))
