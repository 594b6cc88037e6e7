"""From files and `--set` texts to a checked `Config`, or to every problem that can be found in them.

Reads the files and nothing else; opens no socket, creates no directory.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

from clasp_edge.config.build import build
from clasp_edge.config.model import Config
from clasp_edge.config.sources import Sources

# What stands before the key in a problem that came from the command line.
COMMAND_LINE = "--set"

# Below it addresses are each router's own, and no link carries them.
NOBODYS = "clasp-edge"


class Problem:
    """One thing that is wrong. `where` is the file's name (an `Origin` with its line) or `--set`; `key` is a dotted
    path or ""."""

    def __init__(self, where: str, key: str, message: str) -> None:
        self.where = where
        self.key = key
        self.message = message

    def __str__(self) -> str:
        number = getattr(self.where, "line", None)
        where = self.where if number is None else f"{self.where}:{number}"
        line = ": ".join(part for part in (where, self.key, self.message) if part)
        # What is quoted from a file may hold line breaks or terminal escapes; this stays one harmless line.
        return "".join(character if character.isprintable() else repr(character)[1:-1] for character in line)


class ConfigError(Exception):
    """The configuration cannot be used. `problems` has at least one entry; the text has one line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def default_text() -> str:
    """The commented default file: the manual of every option."""
    return (Path(__file__).parent / "default.toml").read_text(encoding="utf-8")


def load_config(path: Path | None = None, sets: Sequence[str] = ()) -> Config:
    """The configuration of the file at `path` and its drop-ins (None: the defaults) with each `section.key=value` of
    `sets` on top.

    A value is read as TOML and, where it is none, as a plain string. Raises ConfigError with every problem found.
    """
    return load_with_origins(path, sets)[0]


def load_with_origins(
    path: Path | None, sets: Sequence[str], below: Sequence[str] = (), below_is: str = ""
) -> tuple[Config, Callable[[str], str]]:
    """As `load_config`, and what tells where the value of a key comes from, for a `Problem`. `below` is like `sets`,
    and what these are put on top of; `below_is` is where it comes from."""
    sources = Sources(path) if path is not None else None
    if sources is not None and sources.problems:
        raise ConfigError([Problem(str(problem.path), "", str(problem)) for problem in sources.problems])
    raw = sources.raw if sources is not None else {}
    problems = [problem for text in (*below, *sets) if (problem := _override(raw, text)) is not None]
    _fill_owns(raw)
    given = [text.partition("=")[0].strip() for text in sets if "=" in text]
    given_below = [text.partition("=")[0].strip() for text in below]

    def origin_of(key: str) -> str:
        if not _is_within(key, given) and _is_within(key, given_below):
            return below_is
        if sources is None or _is_within(key, given):
            return COMMAND_LINE
        return sources.place_of(key)

    def report(key: str, message: str) -> None:
        problems.append(Problem(origin_of(key), key, message))

    config = build(Config, raw, "", report)
    if problems or config is None:
        raise ConfigError(problems)
    return config, origin_of


def _fill_owns(raw: dict[str, object]) -> None:
    """What an uplink that says neither owns nor wants is for: what is at home under the name of this router."""
    uplinks, name = raw.get("uplink"), raw.get("name")
    if not isinstance(uplinks, dict) or not isinstance(name, str):
        return
    stem = re.sub(r"[^\w.-]+", "-", name.lower()).strip("-.")
    if stem in ("", NOBODYS):
        return
    for uplink in uplinks.values():
        if isinstance(uplink, dict) and "owns" not in uplink and "wants" not in uplink:
            uplink["owns"] = [f"/{stem}/**"]


def _is_within(key: str, names: Sequence[str]) -> bool:
    """Whether a key is one of these, or stands inside one."""
    return any(key == name or key.startswith((f"{name}.", f"{name}[")) for name in names)


def _override(raw: dict[str, object], text: str) -> Problem | None:
    """Put one `section.key=value` into `raw`, or say why it cannot be done."""
    key, equals, value = text.partition("=")
    key = key.strip()
    *sections, name = key.split(".")
    if not equals or not name or not all(sections):
        return Problem(COMMAND_LINE, "", f'must be "section.key=value", not "{text}"')
    try:
        text.encode()
    except UnicodeEncodeError:
        return Problem(COMMAND_LINE, key, "is not UTF-8 text")
    table = raw
    for section in sections:
        inner = table.setdefault(section, {})
        if not isinstance(inner, dict):
            return Problem(COMMAND_LINE, key, f'"{section}" is not a table with keys of its own')
        table = inner
    table[name] = _toml_value(value)
    return None


def _toml_value(text: str) -> object:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    # A line break in the text could have smuggled in further keys.
    return parsed["value"] if len(parsed) == 1 else text
