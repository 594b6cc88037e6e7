"""Tokens that are made and withdrawn while the router runs: a file of their own, which holds hashes and no secrets.

`tokens.toml` in the data directory, readable by its owner only. A secret is shown once, when it is made; it has 122
random bits, so its SHA-256 says nothing about it. Written whole and renamed into place: a power cut leaves the old file
or the new one. Two writers are kept apart by a lock.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from clasp_edge.config.spelling import foreign_scope
from clasp_edge.quota import UNLIMITED, Quota
from clasp_edge.security.kept_file import KeptFile, KeptFileError, time_of, when
from clasp_edge.security.scope import Scope, ScopeError

NAME = "tokens.toml"
PREFIX = "cpsk_"

MAX_TOKENS = 10_000
MOST_QUOTA = 10_000_000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@ -]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


TokenFileError = KeptFileError


@dataclass(frozen=True, slots=True)
class KeptToken:
    """One token of the file. `expires` and `created` are Unix times; `expires` None for never."""

    name: str
    digest: bytes = field(repr=False)
    scopes: tuple[str, ...]
    created: int
    expires: int | None = None
    quota: Quota = UNLIMITED

    @property
    def id(self) -> str:
        """The first digits of the hash: names the token in logs and lists."""
        return self.digest.hex()[:8]


def new_secret() -> str:
    """A token as the reference makes them: its clients and its relay take it."""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40  # a UUID of version 4 without dashes (docs/protocol/security.md 4)
    raw[8] = raw[8] & 0x3F | 0x80
    return PREFIX + raw.hex()


def digest_of(secret: str) -> bytes:
    """What is kept of a secret."""
    # Here, because who only reads the file must not load OpenSSL for it (daemon.no_tls).
    from hashlib import sha256

    return sha256(secret.encode(errors="surrogatepass")).digest()


def seconds_of(text: str) -> int:
    """Seconds of "30d", "12h", "15m", "90s" or "90". Raises TokenFileError."""
    found = re.fullmatch(r"(\d{1,9})([dhms]?)", text.strip())
    if not found or not int(found[1]):
        raise TokenFileError(f'"{text}" is no duration; "30d", "12h", "15m" and "90s" are')
    return int(found[1]) * {"d": 86_400, "h": 3600, "m": 60, "s": 1, "": 1}[found[2]]


class TokenFile(KeptFile[KeptToken]):
    """The file in a data directory."""

    name = NAME
    table = "token"
    heading = "# Tokens of clasp-edge, made by `clasp-edge token`. Hashes only: a secret is shown once.\n"
    most = MAX_TOKENS

    def entry_of(self, row: dict[str, Any], where: str) -> KeptToken:
        return _token(row, where)

    def fields_of(self, entry: KeptToken) -> dict[str, Any]:
        return {
            "name": entry.name,
            "sha256": entry.digest.hex(),
            "scopes": list(entry.scopes),
            "created": when(entry.created),
            "expires": None if entry.expires is None else when(entry.expires),
            **{name: value or None for name, value in entry.quota._asdict().items()},
        }

    def add(
        self, name: str, scopes: Sequence[str], expires_s: int | None, quota: Quota = UNLIMITED, *,
        now_s: float | None = None,
    ) -> tuple[str, KeptToken]:  # fmt: skip
        """Make a token; returns its secret, which is nowhere kept, and the entry. Raises TokenFileError."""
        if not _NAME.fullmatch(name):
            raise TokenFileError(f'"{name[:64]}" is no name: up to 64 letters, digits, blanks and _ . @ -')
        if reason := next(filter(None, map(foreign_scope, scopes)), None):
            raise TokenFileError(reason)
        parsed = _scopes(scopes)
        secret = new_secret()
        now = int(_now(now_s))
        entry = KeptToken(name, digest_of(secret), parsed, now, None if expires_s is None else now + expires_s, quota)
        with self.changing() as tokens:
            if any(token.name == name for token in tokens):
                raise TokenFileError(f'there is a token "{name}"; rotate it, revoke it, or take another name')
            if len(tokens) >= MAX_TOKENS:
                raise TokenFileError(f"the file is full: {MAX_TOKENS} tokens; prune those that have expired")
            tokens.append(entry)
        return secret, entry

    def rotate(self, name: str, *, now_s: float | None = None) -> tuple[str, KeptToken]:
        """Give a token a new secret; the old one is worth nothing from now on. Raises TokenFileError."""
        secret = new_secret()
        with self.changing() as tokens:
            at = _index(tokens, name)
            tokens[at] = entry = replace(tokens[at], digest=digest_of(secret), created=int(_now(now_s)))
        return secret, entry

    def revoke(self, name: str) -> KeptToken:
        """Take a token out, by its name or its id. Raises TokenFileError."""
        with self.changing() as tokens:
            return tokens.pop(_index(tokens, name))

    def prune(self, *, now_s: float | None = None) -> list[KeptToken]:
        """Take out what has expired."""
        now = _now(now_s)
        with self.changing() as tokens:
            gone = [token for token in tokens if token.expires is not None and token.expires < now]
            tokens[:] = [token for token in tokens if token not in gone]
        return gone


def _now(now_s: float | None) -> float:
    return time.time() if now_s is None else now_s


def _index(tokens: Sequence[KeptToken], name: str) -> int:
    found = [at for at, token in enumerate(tokens) if name in (token.name, token.id)]
    if not found:
        known = ", ".join(token.name for token in tokens[:20]) or "none"
        raise TokenFileError(f'there is no token "{name[:64]}"; there are: {known}')
    return found[0]


def _scopes(scopes: Sequence[str]) -> tuple[str, ...]:
    if not scopes:
        raise TokenFileError('a token needs at least one scope, such as "read:/**" or "write:/lights/**"')
    try:
        return tuple(str(Scope.parse(scope)) for scope in scopes)
    except ScopeError as error:
        raise TokenFileError(str(error)) from None


def _token(row: dict[str, Any], where: str) -> KeptToken:
    name, digest, scopes = row.get("name"), row.get("sha256"), row.get("scopes")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise TokenFileError(f"{where}.name is wrong")
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise TokenFileError(f"{where}.sha256 is wrong")
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        raise TokenFileError(f"{where}.scopes is wrong")
    created, expires = row.get("created", 0), row.get("expires")
    times = [time_of(one, where) for one in (created, expires)]
    try:
        quota = read_quota({key: row[key] for key in Quota._fields if key in row})
    except TokenFileError as error:
        raise TokenFileError(f"{where}: {error}") from None
    return KeptToken(name, bytes.fromhex(digest), _scopes(scopes), times[0] or 0, times[1], quota)


def read_quota(found: Mapping[str, Any]) -> Quota:
    """A quota from its parts by name. Raises TokenFileError."""
    for name, value in found.items():
        if name not in Quota._fields:
            raise TokenFileError(f'"{name[:40]}" is no quota; there are {", ".join(Quota._fields)}')
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_QUOTA:
            raise TokenFileError(f"the quota {name} is a whole number from 0 to {MOST_QUOTA}; 0 = no limit")
    return Quota(**found)
