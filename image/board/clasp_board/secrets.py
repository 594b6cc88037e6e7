"""Takes secrets out of the files on the card, which anyone can read who holds it, and puts them back when it is edited.

A secret is replaced by a mark. When the file comes again with the mark still in it, the mark stands for the secret that
the box has kept. Knows the form of the files only, not where they lie.
"""

from __future__ import annotations

import re
import secrets
import tomllib
from collections.abc import Callable
from typing import Any

MARK = "(kept in the box)"
SECRET_KEYS = frozenset({"token", "password", "secret"})

_TABLE = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_VALUE = re.compile(r"""(\s*)([A-Za-z0-9_-]+)(\s*=\s*)("(?:[^"\\]|\\.)*"|'[^']*')(\s*(?:#.*)?)$""")
_PLAIN = re.compile(r"(\s*password\s*=\s*)(.*?)(\s*)$", re.IGNORECASE)


def redact_toml(text: str) -> str:
    """The text with every secret replaced by the mark.

    Where a secret stands in a way that this cannot follow (inline tables, several lines), all of the text is left out.
    """
    redacted = _replace(text, lambda _key, _value: MARK)
    if any(value != MARK for value in _secrets(tomllib.loads(redacted))):
        return f"# The box has read this file. It contained secrets, so they are kept in the box only: {MARK}\n"
    return redacted


def restore_toml(text: str, kept: str | None) -> tuple[str, list[str]]:
    """The text with each mark replaced by the secret that `kept` has in the same place; the places where it has none.

    There a random secret is put, which lets nobody in.
    """
    known: dict[str, str] = {}
    if kept is not None:
        _replace(kept, known.setdefault)
    missing = []

    def restored(place: str, value: str) -> str:
        if value != MARK:
            return value
        if place not in known:
            missing.append(place)
        return known.get(place) or secrets.token_urlsafe(32)

    return _replace(text, restored), missing


def redact_wireless(text: str) -> str:
    """The text of wifi.txt without passwords."""
    lines = []
    for line in text.split("\n"):
        found = _PLAIN.match(line)
        lines.append(f"{found[1]}{MARK}{found[3]}" if found and found[2] else line)
    return "\n".join(lines)


def restore_wireless(text: str, kept: str | None) -> tuple[str, list[str]]:
    """As `restore_toml`; a password belongs to the name of the network above it."""
    known = dict(_wireless_passwords(kept or ""))
    lines, missing, name = [], [], ""
    for line in text.split("\n"):
        key, _, value = line.partition("=")
        if key.strip().lower() == "name":
            name = value.strip()
        found = _PLAIN.match(line)
        if found and found[2] == MARK:
            if name not in known:
                missing.append(f"the password of {name}")
            lines.append(found[1] + known.get(name, secrets.token_hex(16)) + found[3])
        else:
            lines.append(line)
    return "\n".join(lines), missing


def _wireless_passwords(text: str) -> list[tuple[str, str]]:
    pairs, name = [], ""
    for line in text.split("\n"):
        key, _, value = line.partition("=")
        if key.strip().lower() == "name":
            name = value.strip()
        found = _PLAIN.match(line)
        if found and found[2]:
            pairs.append((name, found[2]))
    return pairs


def _replace(text: str, change: Callable[[str, str], str]) -> str:
    """Apply `change(place, value)` to every secret on a line of its own. A place is table[number].key."""
    lines, table, counts = [], "", dict[str, int]()
    for line in text.split("\n"):
        if head := _TABLE.match(line):
            counts[head[2]] = counts.get(head[2], 0) + 1
            table = f"{head[2]}[{counts[head[2]]}]" if head[1] == "[[" else head[2]
        elif (pair := _VALUE.match(line)) and pair[2] in SECRET_KEYS:
            value = tomllib.loads(f"v = {pair[4]}")["v"]
            changed = change(f"{table}.{pair[2]}" if table else pair[2], value)
            if changed != value:
                lines.append(f"{pair[1]}{pair[2]}{pair[3]}{_quoted(changed)}{pair[5]}")
                continue
        lines.append(line)
    return "\n".join(lines)


def _quoted(value: str) -> str:
    escaped = "".join(f"\\u{ord(c):04x}" if c in '"\\' or ord(c) < 32 or ord(c) == 127 else c for c in value)
    return f'"{escaped}"'


def _secrets(value: Any) -> list[str]:
    """Every secret in a parsed document, whatever way it was written."""
    if isinstance(value, dict):
        own = [inner for key, inner in value.items() if key in SECRET_KEYS and isinstance(inner, str)]
        return own + [found for inner in value.values() for found in _secrets(inner)]
    if isinstance(value, list):
        return [found for inner in value for found in _secrets(inner)]
    return []
