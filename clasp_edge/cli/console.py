"""`clasp-edge status`, `metrics`, `resync`, `reload`, ...: ask the running daemon over its control socket.

Exit status 0 done, 1 the daemon says no, 3 no daemon was reached.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from clasp_edge.cli.clients_text import client_lines
from clasp_edge.cli.status_text import printable, status_lines
from clasp_edge.cli.taken_ports import taken_ports
from clasp_edge.config.model import Config
from clasp_edge.console.client import NoRouter, NotReached, Refused, ask
from clasp_edge.console.place import places

EXIT_OK = 0
EXIT_REFUSED = 1
EXIT_NOT_REACHED = 3

RELOAD_TIMEOUT_S = 120.0
"""Ten thousand rules take a board many seconds."""


def run(arguments: argparse.Namespace, config: Config, *, also_system: bool) -> int:
    """Carry out the command. `also_system`: nobody said which daemon, so the system's service will do as well."""
    sockets = places(config, also_system=also_system)
    try:
        match arguments.command:
            case "status":
                return _status(sockets, as_json=arguments.json)
            case "metrics":
                print(ask(sockets, {"request": "metrics"}), end="")
                return EXIT_OK
            case "clients":
                return _clients(sockets, as_json=arguments.json)
            case "kick":
                kicked = ask(sockets, {"request": "kick", "id": arguments.id})
                print(printable(f"{kicked['name'] or '?'} ({kicked['id']}): closed"))
                return EXIT_OK
            case "support":
                print(json.dumps(ask(sockets, {"request": "support"}), indent=1))
                return EXIT_OK
            case "why":
                return _why(arguments, sockets)
            case "reload":
                return _reload(sockets)
            case "top":
                from clasp_edge.cli import top

                return top.run(lambda name: ask(sockets, {"request": name}), max(0.1, arguments.every), arguments.count)
            case "release":
                return _release(arguments, sockets)
            case _:
                return _resync(arguments, sockets)
    except Refused as refusal:
        print(f"clasp-edge: {refusal}", file=sys.stderr)
        return EXIT_REFUSED
    except NotReached as fault:
        print(f"clasp-edge: {fault}", file=sys.stderr)
        if isinstance(fault, NoRouter):
            for sentence in taken_ports(config):
                print(f"  {sentence}", file=sys.stderr)
        return EXIT_NOT_REACHED


def _status(sockets: list[Path], *, as_json: bool) -> int:
    report = ask(sockets, {"request": "status"})
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(report)).decode())
        return EXIT_OK
    for line in status_lines(report):
        print(line)
    return EXIT_OK


def _clients(sockets: list[Path], *, as_json: bool) -> int:
    report = ask(sockets, {"request": "clients", "all": as_json})
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(report)).decode())
        return EXIT_OK
    for line in client_lines(report):
        print(line)
    return EXIT_OK


def _why(arguments: argparse.Namespace, sockets: list[Path]) -> int:
    found = ask(sockets, {"request": "why", "address": arguments.address})
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        for each in found["findings"]:
            mark = {True: " ", False: "!", None: "?"}[each["well"]]
            print(printable(f"{mark} {each['about']}: {each['text']}"))
    return EXIT_REFUSED if any(each["well"] is False for each in found["findings"]) else EXIT_OK


def _reload(sockets: list[Path]) -> int:
    done = ask(sockets, {"request": "reload"}, RELOAD_TIMEOUT_S)
    for problem in done["problems"]:
        print(printable(f"clasp-edge: {problem}"), file=sys.stderr)
    if done["problems"]:
        print("clasp-edge: nothing was changed", file=sys.stderr)
        return EXIT_REFUSED
    print(f"taken over: {', '.join(done['applied']) or 'nothing, there is no change'}")
    if done["restart"]:
        print(f"needs a restart: {', '.join(done['restart'])}")
    return EXIT_OK


def _resync(arguments: argparse.Namespace, sockets: list[Path]) -> int:
    request: dict[str, Any] = {"request": "resync"}
    request |= {"all": True} if arguments.all else {"target": arguments.target}
    targets = ask(sockets, request)["targets"]
    for target in targets:
        patterns = f"{target['patterns']} pattern{'s' if target['patterns'] != 1 else ''}"
        if not target["initial"]:
            print(f"{target['name']}: is sent nothing, it is configured with initial = false")
        elif target["reachable"]:
            print(f"{target['name']}: is sent the current values of its {patterns}")
        else:
            print(f"{target['name']}: its host is not found yet; when it is, it is sent the values of its {patterns}")
    if not targets:
        print("there are no OSC targets")
    return EXIT_OK


def _release(arguments: argparse.Namespace, sockets: list[Path]) -> int:
    released = ask(sockets, {"request": "release", "router": arguments.router})
    whose = f", which belonged to the token of {released['subject']}" if released["subject"] else ""
    print(f"{released['router']}{whose}: the next token that dials in with this id has it")
    return EXIT_OK
