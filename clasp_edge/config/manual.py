"""The options of the configuration one by one, as `default.toml` describes them: for forms that change them.

Only what a running router takes over, holds one value or a list of texts, and neither is a secret nor makes any.
"""

from __future__ import annotations

import re
import tomllib
from functools import lru_cache
from typing import Any, NamedTuple

from clasp_edge.config.build import SECRET_KEYS
from clasp_edge.config.load import default_text
from clasp_edge.config.reload import LIVE

NOT_HERE = frozenset({"security.trust_anchors", "rules.files"})
"""Who may make tokens, and which files are read, is for those who may write the configuration's files."""

_SECTION = re.compile(r"\[([a-z_.]+)\]$")
_KEY = re.compile(r"([a-z_0-9]+) = (.+)$")


class Option(NamedTuple):
    """One key with its default and what the manual says about it."""

    key: str
    default: Any
    help: str


@lru_cache(maxsize=1)
def options() -> tuple[Option, ...]:
    """Those that can be changed one by one, in the order of the file."""
    found: list[Option] = []
    section = ""
    remarks: list[str] = []
    said: list[str] = []
    for line in default_text().splitlines():
        if line.startswith("# ") or line == "#":
            remarks.append(line[2:])
        elif (header := _SECTION.match(line)) is not None:
            section = f"{header[1]}."
            remarks = []
        elif (option := _KEY.match(line)) is not None:
            key = section + option[1]
            # Keys that follow without a remark of their own go by the one before.
            remarks = remarks or said
            told = key in LIVE and key not in NOT_HERE and option[1] not in SECRET_KEYS
            if told and (default := _read(option[2])) is not None:
                found.append(Option(key, default, " ".join(remarks).strip()))
            said, remarks = remarks, []
        else:
            remarks = []
    return tuple(found)


def _read(text: str) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return None
    if isinstance(value, list):
        return value if all(isinstance(one, str) for one in value) else None
    return value if isinstance(value, bool | int | float | str) else None
