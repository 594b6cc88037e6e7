"""What Mosquitto's password file and ACL file say, as users and scopes of ours. Pure functions over texts.

    user NAME / topic [read|write|readwrite|deny] TOPIC / pattern [read|write|readwrite|deny] TOPIC

Topics are addresses below the MQTT namespace. Users' entries become scopes of theirs, patterns scopes of every user;
`%u` and `%c` stay. What cannot be said here (deny, the anonymous user's topics, $SYS) is named, never widened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from clasp_edge.security.kept_file import KeptFileError
from clasp_edge.security.passwords import HashError, check_form
from clasp_edge.security.user_file import check_name, checked_scopes

_ACCESS = {
    "read": ("read",),
    "write": ("write!",),
    "readwrite": ("write",),
}
"""Of an ACL line as actions of scopes: Mosquitto's write does not allow reading."""

MOST_BYTES = 8 * 1024 * 1024


@dataclass
class Imported:
    """What the files say. `remarks` are sentences about lines that were passed over."""

    passwords: dict[str, str] = field(default_factory=dict)
    scopes: dict[str, list[str]] = field(default_factory=dict)
    patterns: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    denies: set[str] = field(default_factory=set)
    """Users with a deny line: what they may do could not be told."""

    def of(self, name: str) -> tuple[str, ...]:
        """The scopes of a user."""
        if name in self.denies:
            return ()
        return checked_scopes([*self.scopes.get(name, ()), *self.patterns])


def read_passwords(text: str, found: Imported) -> None:
    """Take over a password file: `name:hash` lines."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, kept = line.strip().partition(":")
        try:
            if not colon:
                raise HashError("no user:hash")
            check_name(name)
            found.passwords[name] = check_form(kept)
        except (HashError, KeptFileError) as error:
            found.remarks.append(f"password file, line {number}: passed over: {error}")


def read_acl(text: str, found: Imported, patterns_of: Callable[[str], list[bytes]]) -> None:
    """Take over an ACL file. `patterns_of` gives the addresses of a topic filter as patterns."""
    user = ""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        word, _, rest = stripped.partition(" ")
        rest = rest.strip()
        here = f"ACL file, line {number}"
        if word == "user":
            user = rest
            continue
        if word not in ("topic", "pattern"):
            found.remarks.append(f'{here}: passed over: "{word[:40]}" is not user, topic or pattern')
            continue
        access, _, topic = rest.partition(" ")
        if access not in (*_ACCESS, "deny") or not topic:
            access, topic = "readwrite", rest
        topic = topic.strip()
        if access == "deny":
            _denied(word, user, here, found)
        elif topic.startswith("$"):
            found.remarks.append(f"{here}: passed over: {topic[:64]}: topics with $ need scopes of their own")
        elif word == "topic" and not user:
            found.remarks.append(f"{here}: passed over: it is for clients without a name ([[security.network]])")
        else:
            try:
                scopes = [f"{action}:{at.decode()}" for action in _ACCESS[access] for at in patterns_of(topic)]
                checked_scopes(scopes)
            except (ValueError, KeptFileError) as error:
                found.remarks.append(f"{here}: passed over: {error}")
                continue
            if word == "pattern":
                found.patterns += scopes
            else:
                found.scopes.setdefault(user, []).extend(scopes)


def _denied(word: str, user: str, here: str, found: Imported) -> None:
    """A scope only allows. Whoever has a deny gets nothing at all, and that is said."""
    if word == "pattern" or not user:
        found.remarks.append(f"{here}: deny for everybody cannot be said with scopes; check what it kept from whom")
        return
    found.denies.add(user)
    found.remarks.append(
        f"{here}: deny cannot be said with scopes: {user} has no rights; give some with: clasp-edge user scopes {user}"
    )
