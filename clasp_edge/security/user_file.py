"""Users of MQTT: names, hashed passwords and scopes, in `users.toml` of the data directory.

Scopes may have `%u` and `%c` in their patterns: the user's name and the client identifier, as in Mosquitto's `pattern`
lines. Written like the token file (security.kept_file).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from clasp_edge.config.spelling import foreign_scope
from clasp_edge.security.kept_file import KeptFile, KeptFileError, time_of, when
from clasp_edge.security.passwords import MOST_PASSWORD_BYTES, HashError, check_form, hash_of
from clasp_edge.security.scope import Scope, ScopeError, Scopes

NAME = "users.toml"
MAX_USERS = 10_000
SHORTEST_PASSWORD = 8
MOST_NAME_CHARACTERS = 128

USER, CLIENT = "%u", "%c"

_SPECIAL = frozenset("/*?[]{}+#!%\\")
"""What would make more of a pattern than the name that is put into it."""


@dataclass(frozen=True, slots=True)
class User:
    """One user of the file. `changed` is the Unix time at which the password was set."""

    name: str
    password: str = field(repr=False)
    scopes: tuple[str, ...]
    changed: int

    def scopes_for(self, client_id: str) -> Scopes:
        """What the user may do as this client. A scope with `%c` or `%u` counts for nothing where the name that would
        stand there has a "/" or a wildcard: it would be a wider scope than meant."""
        found = []
        for text in self.scopes:
            if (USER in text and not _plain(self.name)) or (CLIENT in text and not _plain(client_id)):
                continue
            # One pass: what is put in is not looked at again.
            filled = client_id.join(part.replace(USER, self.name) for part in text.split(CLIENT))
            try:
                found.append(Scope.parse(filled))
            except ScopeError:
                continue  # longer than a pattern may be
        return Scopes(found)


def _plain(name: str) -> bool:
    return bool(name) and name.isprintable() and not _SPECIAL.intersection(name)


class UserFile(KeptFile[User]):
    """The file in a data directory."""

    name = NAME
    table = "user"
    heading = "# Users of MQTT, made by `clasp-edge user`. Passwords are hashed.\n"
    most = MAX_USERS

    def entry_of(self, row: dict[str, Any], where: str) -> User:
        return _user(row, where)

    def fields_of(self, entry: User) -> dict[str, Any]:
        return {
            "name": entry.name,
            "password": entry.password,
            "scopes": list(entry.scopes),
            "changed": when(entry.changed),
        }

    def add(self, name: str, hashed: str, scopes: Sequence[str]) -> User:
        """Make a user whose password has this hash (`hashed`). Raises KeptFileError."""
        check_name(name)
        _refuse_foreign(scopes)
        user = User(name, _checked_hash(hashed), checked_scopes(scopes), int(time.time()))
        with self.changing() as users:
            if any(other.name == name for other in users):
                raise KeptFileError(f'there is a user "{name}"; change its password with: clasp-edge user passwd')
            users.append(user)
        return user

    def set_password(self, name: str, hashed: str) -> User:
        """Give a user another password; sessions that were opened with the old one end. Raises KeptFileError."""
        _checked_hash(hashed)
        with self.changing() as users:
            at = index_of(users, name)
            users[at] = user = replace(users[at], password=hashed, changed=int(time.time()))
        return user

    def set_scopes(self, name: str, scopes: Sequence[str]) -> User:
        """Let a user do this from now on. Raises KeptFileError."""
        _refuse_foreign(scopes)
        checked = checked_scopes(scopes)
        with self.changing() as users:
            at = index_of(users, name)
            users[at] = user = replace(users[at], scopes=checked)
        return user

    def remove(self, name: str) -> User:
        """Take a user out. Raises KeptFileError."""
        with self.changing() as users:
            return users.pop(index_of(users, name))


def check_name(name: str) -> None:
    """Raises KeptFileError."""
    if not 0 < len(name) <= MOST_NAME_CHARACTERS or not name.isprintable() or name != name.strip():
        raise KeptFileError(f"a user's name is 1 to {MOST_NAME_CHARACTERS} printable characters")


def _refuse_foreign(scopes: Sequence[str]) -> None:
    """Of those that are new; what a file has is taken as it is."""
    if reason := next(filter(None, map(foreign_scope, scopes)), None):
        raise KeptFileError(reason)


def checked_scopes(scopes: Sequence[str]) -> tuple[str, ...]:
    """As they are kept. Raises KeptFileError."""
    found = []
    for text in scopes:
        try:
            # With names in place of the variables; in the file they stay.
            Scope.parse(text.replace(USER, "user").replace(CLIENT, "client"))
        except ScopeError as error:
            raise KeptFileError(str(error)) from None
        found.append(text.strip())
    return tuple(dict.fromkeys(found))


def index_of(users: Sequence[User], name: str) -> int:
    """Where the user stands. Raises KeptFileError."""
    for at, user in enumerate(users):
        if user.name == name:
            return at
    known = ", ".join(user.name for user in users[:20]) or "none"
    raise KeptFileError(f'there is no user "{name[:64]}"; there are: {known}')


def hashed(password: str) -> str:
    """What is kept of a new password. Takes a tenth of a second by intent: not for the event loop. Raises
    KeptFileError."""
    if len(password) < SHORTEST_PASSWORD:
        raise KeptFileError(f"a password has at least {SHORTEST_PASSWORD} characters")
    if len(password.encode(errors="surrogatepass")) > MOST_PASSWORD_BYTES:
        raise KeptFileError(f"a password has at most {MOST_PASSWORD_BYTES} bytes")
    try:
        return hash_of(password)
    except UnicodeEncodeError:
        raise KeptFileError("a password is UTF-8 text") from None


def _checked_hash(kept: str) -> str:
    try:
        return check_form(kept)
    except HashError as error:
        raise KeptFileError(f"the password's hash: {error}") from None


def _user(row: dict[str, Any], where: str) -> User:
    name, password, scopes = row.get("name"), row.get("password"), row.get("scopes", [])
    if not isinstance(name, str) or not name:
        raise KeptFileError(f"{where}.name is wrong")
    if not isinstance(password, str):
        raise KeptFileError(f"{where}.password is wrong")
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        raise KeptFileError(f"{where}.scopes is wrong")
    try:
        check_form(password)
    except HashError as error:
        raise KeptFileError(f"{where}.password: {error}") from None
    return User(name, password, checked_scopes(scopes), time_of(row.get("changed", 0), where) or 0)
