"""`clasp-edge token`: on the running router, or, where none runs, on its token file.

Exit status 0 done, 1 refused or not allowed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from clasp_edge.config.model import Config
from clasp_edge.console.client import NoRouter, NotReached, Refused, ask
from clasp_edge.console.place import places
from clasp_edge.security.known_clock import KnownClock
from clasp_edge.security.token_file import TokenFile, TokenFileError, seconds_of
from clasp_edge.security.token_requests import answer

EXIT_OK = 0
EXIT_REFUSED = 1


def run(arguments: argparse.Namespace, config: Config, *, also_system: bool) -> int:
    """Carry out the command."""
    if arguments.action == "cap":
        from clasp_edge.cli import capability

        return capability.run(arguments, config, also_system=also_system)
    try:
        request = _request(arguments)
        try:
            found = ask(places(config, also_system=also_system), {"request": "token", **request})
        except NoRouter:
            found = answer(TokenFile(config.data_dir), request, KnownClock(config.data_dir))
    except (Refused, NotReached, TokenFileError) as refusal:
        print(f"clasp-edge: {refusal}", file=sys.stderr)
        return EXIT_REFUSED
    return _told(arguments, found, mode=config.security.mode)


def _request(arguments: argparse.Namespace) -> dict[str, Any]:
    request: dict[str, Any] = {"action": arguments.action}
    match arguments.action:
        case "new":
            scopes = [part.strip() for scope in arguments.scope for part in scope.split(",")]
            request |= {"name": arguments.name, "scopes": scopes}
            request["quota"] = dict(map(_quota, arguments.quota))
            if arguments.expires:
                request["expires_s"] = seconds_of(arguments.expires)
        case "show" | "revoke" | "rotate":
            request["name"] = arguments.name
        case "test":
            request |= {"token": arguments.token, "verb": arguments.verb, "address": arguments.address}
    return request


def _quota(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not number.isascii() or not number.isdecimal():
        raise TokenFileError(f'"{text[:60]}" is no quota such as sessions=2')
    return name.strip(), int(number)


def _told(arguments: argparse.Namespace, found: Mapping[str, Any], *, mode: str) -> int:
    match arguments.action:
        case "new" | "rotate":
            print(found["token"])
            if found.get("clock"):
                print(f"warning: {found['clock']}", file=sys.stderr)
            print("This is shown once. Only a hash of it is kept.", file=sys.stderr)
            if found.get("open", mode == "open"):
                print('The router is open to everybody until security.mode is "authenticated".', file=sys.stderr)
        case "list":
            if arguments.json:
                print(json.dumps(found["tokens"], indent=2))
            elif not found["tokens"]:
                print("there are no tokens in the token file; those of the configuration stand in its files")
            else:
                for row in found["tokens"]:
                    print(f"{row['id']}  {row['name']:20}  {_until(row):24}  {', '.join(row['scopes'])}{_used(row)}")
        case "show":
            for key in ("name", "id", "scopes", "quota", "created", "expires", "logins", "last_login", "last_address"):
                if found.get(key) is not None:
                    print(f"{key:12} {_shown(key, found[key])}")
        case "revoke":
            print(f"revoked: {found['name']} ({found['id']})")
        case "prune":
            print(f"{len(found['pruned'])} tokens that had expired are forgotten")
        case _:
            print("allowed" if found["allowed"] else "expired" if found["expired"] else "not allowed")
            return EXIT_OK if found["allowed"] else EXIT_REFUSED
    return EXIT_OK


def _shown(key: str, value: Any) -> str:
    if key in ("created", "expires", "last_login"):
        return _time(value)
    if isinstance(value, dict):
        return ", ".join(f"{name}={number}" for name, number in value.items()) or "none of its own"
    return ", ".join(value) if isinstance(value, list) else str(value)


def _time(unix_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(unix_s))


def _until(row: Mapping[str, Any]) -> str:
    if row["expires"] is None:
        return "for ever"
    return f"{'expired' if row['expired'] else 'until'} {_time(row['expires'])}"


def _used(row: Mapping[str, Any]) -> str:
    if not row.get("logins"):
        return ""
    return f"  ({row['logins']} logins, last {_time(row['last_login'])} from {row['last_address'] or 'here'})"
