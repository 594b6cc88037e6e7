"""What can be asked about users, by word: the same for the running router's control socket and for the bare file.

{"action": "add", "name": "sensor", "password": HASH, "scopes": ["write:/mqtt/%c/**"]}
{"action": "list"}   {"action": "show", "name": ...}   {"action": "passwd", "name": ..., "password": HASH}
{"action": "scopes", "name": ..., "scopes": [...]}     {"action": "remove", "name": ...}
{"action": "import", "users": [{"name": ..., "password": HASH, "scopes": [...]}]}

A password comes hashed (`user_file.hashed`), by who asks: that takes a while, and the router has other things to do.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from clasp_edge.security.kept_file import KeptFileError
from clasp_edge.security.passwords import HashError, check_form
from clasp_edge.security.token_requests import text_of, texts_of
from clasp_edge.security.user_file import User, UserFile, check_name, checked_scopes, index_of

ACTIONS = ("add", "list", "show", "passwd", "scopes", "remove", "import")
CHANGES = frozenset({"add", "passwd", "scopes", "remove", "import"})


def answer(file: UserFile, request: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a request. Raises KeptFileError with a sentence."""
    match request.get("action"):
        case "add":
            name, password = text_of(request, "name"), text_of(request, "password")
            return _described(file.add(name, password, texts_of(request, "scopes")))
        case "passwd":
            return _described(file.set_password(text_of(request, "name"), text_of(request, "password")))
        case "scopes":
            return _described(file.set_scopes(text_of(request, "name"), texts_of(request, "scopes")))
        case "remove":
            return _described(file.remove(text_of(request, "name")))
        case "import":
            return _imported(file, request.get("users"))
        case "list":
            return {"users": [_described(user) for user in file.read()]}
        case "show":
            users = file.read()
            return _described(users[index_of(users, text_of(request, "name"))])
        case other:
            raise KeptFileError(f'"{str(other)[:40]}" is not one of {", ".join(ACTIONS)}')


def _imported(file: UserFile, rows: Any) -> dict[str, Any]:
    """Take over users as they are, hashes included. One that is there already stays as it is, and is named."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise KeptFileError('"users" is a list of objects')
    fresh: list[User] = []
    for row in rows:
        name, password = text_of(row, "name"), text_of(row, "password")
        check_name(name)
        try:
            check_form(password)
        except HashError as error:
            raise KeptFileError(f"{name}: {error}") from None
        fresh.append(User(name, password, checked_scopes(texts_of(row, "scopes")), int(time.time())))
    with file.changing() as users:
        known = {user.name for user in users}
        users += [user for user in fresh if user.name not in known]
    return {
        "imported": [user.name for user in fresh if user.name not in known],
        "kept": [user.name for user in fresh if user.name in known],
    }


def _described(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "scopes": list(user.scopes),
        "changed": user.changed,
        "form": {"7": "mosquitto $7$", "6": "mosquitto $6$"}.get(user.password.split("$")[1], "pbkdf2-sha512"),
    }
