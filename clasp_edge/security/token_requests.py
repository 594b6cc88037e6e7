"""What can be asked about tokens, by word: the same for the running router's control socket and for the bare file.

{"action": "new", "name": "desk", "scopes": ["write:/lights/**"], "expires_s": 86400}
{"action": "list"}   {"action": "show", "name": ...}   {"action": "revoke", ...}   {"action": "rotate", ...}
{"action": "prune"}  {"action": "test", "token": ..., "verb": "write", "address": "/lights/1"}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clasp_edge.quota import Quota
from clasp_edge.security.known_clock import KnownClock
from clasp_edge.security.known_clock import text_of as time_text
from clasp_edge.security.scope import Action, Scopes
from clasp_edge.security.token_file import KeptToken, TokenFile, TokenFileError, digest_of, read_quota

ACTIONS = ("new", "list", "show", "test", "revoke", "rotate", "prune")
CHANGES = frozenset({"new", "revoke", "rotate", "prune"})


def answer(file: TokenFile, request: Mapping[str, Any], clock: KnownClock) -> dict[str, Any]:
    """The result of a request. Raises TokenFileError with a sentence."""
    now_s = clock.believed_s()
    match request.get("action"):
        case "new":
            name, scopes = text_of(request, "name"), texts_of(request, "scopes")
            expires_s = _duration(request)
            if expires_s is not None and clock.unknown:
                raise TokenFileError(
                    f"the clock was never set (it shows {time_text(clock.wall_s())}), so an expiry cannot be counted: "
                    "set it (timedatectl set-time, or NTP), or make the token without one"
                )
            secret, entry = file.add(name, scopes, expires_s, _quota(request), now_s=now_s)
            told = {"clock": clock.fault()} if expires_s is not None and clock.doubted else {}
            return _described(entry, now_s) | {"token": secret} | told
        case "rotate":
            secret, entry = file.rotate(text_of(request, "name"), now_s=now_s)
            return _described(entry, now_s) | {"token": secret}
        case "revoke":
            return _described(file.revoke(text_of(request, "name")), now_s)
        case "prune":
            return {"pruned": [_described(entry, now_s) for entry in file.prune(now_s=now_s)]}
        case "list":
            return {"tokens": [_described(entry, now_s) for entry in file.read()]}
        case "show":
            name = text_of(request, "name")
            for entry in file.read():
                if name in (entry.name, entry.id):
                    return _described(entry, now_s)
            raise TokenFileError(f'there is no token "{name[:64]}"')
        case "test":
            return _tested(
                file, text_of(request, "token"), text_of(request, "verb"), text_of(request, "address"), now_s
            )
        case other:
            raise TokenFileError(f'"{str(other)[:40]}" is not one of {", ".join(ACTIONS)}')


def _described(entry: KeptToken, now_s: float) -> dict[str, Any]:
    return {
        "name": entry.name,
        "id": entry.id,
        "scopes": list(entry.scopes),
        "quota": {name: value for name, value in entry.quota._asdict().items() if value},
        "created": entry.created,
        "expires": entry.expires,
        "expired": entry.expires is not None and entry.expires < now_s,
    }


def _tested(file: TokenFile, secret: str, verb: str, address: str, now_s: float) -> dict[str, Any]:
    if verb not in tuple(Action):
        raise TokenFileError(f'"{verb[:40]}" is no action; there are {", ".join(Action)}')
    digest = digest_of(secret)
    for entry in file.read():
        if entry.digest == digest:
            allowed = Scopes.parse(", ".join(entry.scopes)).allows(verb, address.encode())
            described = _described(entry, now_s)
            return described | {"allowed": allowed and not described["expired"]}
    raise TokenFileError("no token of the file has this secret; it was mistyped, revoked or rotated")


def text_of(request: Mapping[str, Any], key: str) -> str:
    """A text of the request. Raises TokenFileError."""
    value = request.get(key)
    if not isinstance(value, str) or not value:
        raise TokenFileError(f'"{key}" is missing')
    return value


def texts_of(request: Mapping[str, Any], key: str) -> list[str]:
    """A list of texts of the request. Raises TokenFileError."""
    value = request.get(key)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TokenFileError(f'"{key}" is a list of texts')
    return value


def _quota(request: Mapping[str, Any]) -> Quota:
    value = request.get("quota", {})
    if not isinstance(value, dict):
        raise TokenFileError('"quota" is an object')
    return read_quota(value)


def _duration(request: Mapping[str, Any]) -> int | None:
    value = request.get("expires_s")
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**31:
        raise TokenFileError('"expires_s" is a number of seconds')
    return value
