"""`clasp-edge user`: on the running router, or, where none runs, on its user file.

Exit status 0 done, 1 refused.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clasp_edge.config.model import Config
from clasp_edge.console.client import MAX_REQUEST_BYTES, NoRouter, NotReached, Refused, ask
from clasp_edge.console.place import places
from clasp_edge.daemon.out_of_reach import reach_of, unreachable
from clasp_edge.devices.mqtt.address import to_pattern
from clasp_edge.devices.mqtt.mounts import Mounts
from clasp_edge.security.kept_file import KeptFileError
from clasp_edge.security.mosquitto_files import MOST_BYTES, Imported, read_acl, read_passwords
from clasp_edge.security.user_file import UserFile, hashed
from clasp_edge.security.user_requests import answer
from clasp_edge.text_file import lines_from, no_text, read_text

EXIT_OK = 0
EXIT_REFUSED = 1

ROOM_BYTES = MAX_REQUEST_BYTES - 1024
"""For users in one request."""


def run(arguments: argparse.Namespace, config: Config, *, also_system: bool) -> int:
    """Carry out the command."""
    sockets = places(config, also_system=also_system)

    def request(what: Mapping[str, Any]) -> dict[str, Any]:
        try:
            found: dict[str, Any] = ask(sockets, {"request": "user", **what})
        except NoRouter:
            found = answer(UserFile(config.data_dir), what)
        return found

    try:
        match arguments.action:
            case "add":
                what = {"name": arguments.name, "password": hashed(_password()), "scopes": _scopes(arguments)}
                found = request({"action": "add", **what})
                print(f"{found['name']}: {', '.join(found['scopes']) or 'no rights yet (--scope)'}")
                _warn_of(config, found)
                if found.get("open", config.security.mode == "open"):
                    print('The router is open to everybody until security.mode is "authenticated".', file=sys.stderr)
            case "passwd":
                request({"action": "passwd", "name": arguments.name, "password": hashed(_password())})
                print(f"{arguments.name}: the password is changed")
            case "scopes":
                found = request({"action": "scopes", "name": arguments.name, "scopes": _scopes(arguments)})
                print(f"{found['name']}: {', '.join(found['scopes']) or 'no rights'}")
                _warn_of(config, found)
            case "remove":
                request({"action": "remove", "name": arguments.name})
                print(f"removed: {arguments.name}")
            case "import":
                return _import(arguments, config, request)
            case _:
                _list(request({"action": "list"})["users"], as_json=arguments.json)
    except (Refused, NotReached, KeptFileError) as refusal:
        print(f"clasp-edge: {refusal}", file=sys.stderr)
        return EXIT_REFUSED
    return EXIT_OK


def _warn_of(config: Config, user: Mapping[str, Any]) -> None:
    for sentence in unreachable(user["name"], user["scopes"], reach_of(config, "mqtt")):
        print(f"warning: {sentence}", file=sys.stderr)


def _scopes(arguments: argparse.Namespace) -> list[str]:
    return [part.strip() for scope in arguments.scope for part in scope.split(",")]


def _password() -> str:
    """From the terminal, twice; from a pipe its first line. Never an argument: those are seen by everybody."""
    if not sys.stdin.isatty():
        return lines_from(sys.stdin).readline().rstrip("\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise KeptFileError("the two are not the same; nothing was changed")
    return first


def _list(users: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(users, indent=2))
    elif not users:
        print("there are no users")
    else:
        for user in users:
            when = time.strftime("%Y-%m-%d", time.localtime(user["changed"]))
            print(f"{user['name']:24}  {when}  {user['form']:14}  {', '.join(user['scopes']) or 'no rights'}")


def _import(arguments: argparse.Namespace, config: Config, request: Any) -> int:
    found = Imported()
    read_passwords(_text(arguments.passwords), found)
    mounts = Mounts(config.mqtt.mount) if config.mqtt.mount else None

    def patterns_of(topic: str) -> list[bytes]:
        # `%u` and `%c` are whole levels or parts of them: nothing that topics and addresses see differently.
        patterns = [to_pattern(config.mqtt.namespace, topic)]
        return [*patterns, *mounts.patterns_of(topic)] if mounts is not None else patterns

    if arguments.acl is not None:
        read_acl(_text(arguments.acl), found, patterns_of)
    elif not arguments.scope:
        raise KeptFileError("without --acl, say with --scope what these users may do")
    for name in sorted(set(found.scopes) - set(found.passwords)):
        found.remarks.append(f"ACL file: {name}: has no password, and is left out")
    more = _scopes(arguments)
    rows = [
        {"name": name, "password": kept, "scopes": [*found.of(name), *(more if name not in found.denies else ())]}
        for name, kept in found.passwords.items()
    ]
    imported: list[str] = []
    kept: list[str] = []
    for part in list(_parts(rows)):
        done = request({"action": "import", "users": part})
        imported += done["imported"]
        kept += done["kept"]
    for remark in found.remarks:
        print(f"warning: {remark}", file=sys.stderr)
    print(f"{len(imported)} users imported" + (f", {len(kept)} were there already: {', '.join(kept)}" if kept else ""))
    return EXIT_OK


def _parts(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """As many users as go into one request each. Raises KeptFileError for one that goes into none."""
    part: list[dict[str, Any]] = []
    room = ROOM_BYTES
    for row in rows:
        size = len(json.dumps(row)) + 2
        if size > ROOM_BYTES:
            raise KeptFileError(
                f"{row['name']}: its {len(row['scopes'])} scopes take {size} bytes, at most {ROOM_BYTES} are possible; "
                "use wildcards in the ACL. Nobody was imported"
            )
        if size > room:
            yield part
            part, room = [], ROOM_BYTES
        part.append(row)
        room -= size
    if part:
        yield part


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise KeptFileError(f"{path} is larger than {MOST_BYTES >> 20} MiB")
        return read_text(path)
    except OSError as error:
        raise KeptFileError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise KeptFileError(f"{path} {no_text(error)}") from None
