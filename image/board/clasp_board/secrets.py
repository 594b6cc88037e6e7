"""Takes secrets out of the files on the card, which anyone can read who holds it, and puts them back when it is edited.

A secret is replaced by a mark. When the file comes again with the mark still in it, the mark stands for the secret that
the box has kept. Knows the form of the files only, not where they lie.
"""

from __future__ import annotations

import re
import secrets
import tomllib
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from clasp_board import toml

MARK = "(kept in the box)"
WHOLE = "# The box has read this file. It contained secrets, so all of it is kept in the box only"
"""Stands for a file whose secrets cannot be taken out one by one."""

SECRET_KEYS = frozenset({"token", "password", "secret"})

SHORTEST_TOKEN = 16
EXAMPLES = frozenset({"changeme", "change-me"})

# Nothing here may match blanks in two ways: a line of nothing else would take minutes.
_TABLE = re.compile(r"(\[\[?)([^\]]+)\]\]?\s*(#.*)?$")
_VALUE = re.compile(r"""(\s*)([A-Za-z0-9_-]+)(\s*=\s*)("(?:[^"\\]|\\.)*"|'[^']*')(\s*(?:#.*)?)$""")
_PLAIN = re.compile(r"(\s*password\s*=\s*)(.*)$", re.IGNORECASE)


def redact_toml(text: str) -> str:
    """The text with every secret replaced by the mark.

    Where a secret stands in a way that this cannot follow (inline tables, several lines), all of the text is left out.
    """
    redacted = _replace(text, lambda _key, _value: MARK)
    if any(value != MARK for value in _secrets(toml.load(redacted))):
        return f"{WHOLE}. To change something, write everything anew, without this line.\n"
    return redacted


def restore_toml(text: str, kept: str | None) -> str:
    """The text with each mark replaced by the secret that `kept` has in the same place. Elsewhere the mark stays."""
    known: dict[str, str] = {}
    if kept is not None:
        _replace(kept, known.setdefault)
    return _replace(text, lambda place, value: known.get(place, MARK) if value == MARK else value)


def fill_toml(text: str) -> tuple[str, list[str]]:
    """The text with a random secret, which lets nobody in, for each mark that is left; and the places of these."""
    missing = []

    def filled(place: str, value: str) -> str:
        if value != MARK:
            return value
        missing.append(place)
        return secrets.token_urlsafe(32)

    return _replace(text, filled), missing


def check_strength(text: str) -> None:
    """Refuse tokens that everybody knows or can guess; marks stand for those that are kept. Raises ValueError."""
    found = toml.load(text)
    if any(_is_example(value) for value in _secrets(found)):
        raise ValueError(
            "a token or password in it is the one of the example, which everybody knows; please write one of your own"
        )
    security = found.get("security")
    entries = security.get("token") if isinstance(security, dict) else None
    for number, entry in enumerate(entries if isinstance(entries, list) else [], 1):
        token = entry.get("token") if isinstance(entry, dict) else None
        if isinstance(token, str) and token != MARK and len(token) < SHORTEST_TOKEN:
            whose = entry.get("subject") or f"number {number}"
            raise ValueError(
                f'the token of "{whose}" has {len(token)} characters and can be guessed; please take at least '
                f"{SHORTEST_TOKEN}, by chance"
            )


def _is_example(value: str) -> bool:
    return value.lower().startswith("replace-me") or value.lower() in EXAMPLES


def redact_wireless(text: str) -> str:
    """The text of wifi.txt without passwords."""
    lines = []
    for line in text.split("\n"):
        found = _PLAIN.match(line)
        lines.append(_with_password(found, lambda _password: MARK) if found else line)
    return "\n".join(lines)


def restore_wireless(text: str, kept: str | None) -> str:
    """As `restore_toml`; a password belongs to the name of the network above it."""
    known: dict[str, str] = {}
    _replace_wireless(kept or "", known.setdefault)
    return _replace_wireless(text, lambda name, value: known.get(name, MARK) if value == MARK else value)


def fill_wireless(text: str) -> tuple[str, list[str]]:
    """As `fill_toml`."""
    missing = []

    def filled(name: str, value: str) -> str:
        if value != MARK:
            return value
        missing.append(f"the password of {name}")
        return secrets.token_hex(16)

    return _replace_wireless(text, filled), missing


def _replace_wireless(text: str, change: Callable[[str, str], str]) -> str:
    """Apply `change(name of the network, password)` to every password."""
    lines, name = [], ""
    for line in text.split("\n"):
        key, _, value = line.partition("=")
        if key.strip().lower() == "name":
            name = value.strip()
        found = _PLAIN.match(line)
        lines.append(_with_password(found, partial(change, name)) if found else line)
    return "\n".join(lines)


def _with_password(found: re.Match[str], change: Callable[[str], str]) -> str:
    password = found[2].rstrip()
    return found[1] + (change(password) if password else "") + found[2][len(password) :]


def _replace(text: str, change: Callable[[str, str], str]) -> str:
    """Apply `change(place, value)` to every secret on a line of its own. A place is table.key.

    Of tables in a row, each is known by what else it contains, not by its number: when one is taken away, the next must
    not come by its secret. Those that are alike are known by their numbers while there are as many as before.
    """
    before, lines, table = text.split("\n"), list[str](), ""
    heads = {number: head for number, line in enumerate(before) if (head := _TABLE.match(line.strip()))}
    rows = {n: f"{head[2].strip()}[{_content(before, n + 1)}]" for n, head in heads.items() if head[1] == "[["}
    totals, counts = Counter(rows.values()), Counter[str]()
    for number, line in enumerate(before):
        if number in rows:
            table = rows[number]
            counts[table] += 1
            if totals[table] > 1:
                table += f" ({counts[table]} of {totals[table]})"
        elif number in heads:
            table = heads[number][2].strip()
        elif (pair := _VALUE.match(line)) and pair[2] in SECRET_KEYS:
            try:
                value = tomllib.loads(f"v = {pair[4]}")["v"]
            except tomllib.TOMLDecodeError:  # whoever checks the file names it
                lines.append(line)
                continue
            changed = change(f"{table}.{pair[2]}" if table else pair[2], value)
            if changed != value:
                lines.append(f"{pair[1]}{pair[2]}{pair[3]}{_quoted(changed)}{pair[5]}")
                continue
        lines.append(line)
    return "\n".join(lines)


def _content(lines: list[str], begin: int) -> str:
    """What a table is known by whose lines begin here: its subject or name, else all of it but secrets and comments."""
    found = []
    for number in range(begin, len(lines)):
        line = lines[number]
        if _TABLE.match(line.strip()):
            break
        pair = _VALUE.match(line)
        if pair and pair[2] in ("subject", "name"):
            return pair[4][1:-1]
        if line.strip() and not line.lstrip().startswith("#") and not (pair and pair[2] in SECRET_KEYS):
            found.append("".join(line.split()))
    return ", ".join(found)


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
