"""The daemon's files that follow from the settings: its configuration in parts, certificates and keys, files of rules.

Below a directory of their own they are tried, below /etc/clasp-edge they are in force. Knows which file of the card
becomes which; checks nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

from clasp_board import toml

CONFIG = "clasp-edge.toml"
TLS, SHOW = "tls/", "show/"

OWN = "conf.d/50-board.toml"
RULE_FILES = "conf.d/55-show.toml"


def daemon_files(in_force: dict[str, str], base: Path) -> dict[str, str]:
    """Path below `base` and text of each, from the texts of the card's files by name."""
    files = {daemon_name(name): text for name, text in in_force.items() if daemon_name(name)}
    shown = [str(base / name) for name in sorted(files) if name.endswith(".json")]
    if shown:
        # A list in a later part stands in place of the one before.
        rules = dict.fromkeys([*_rule_files(in_force.get(CONFIG, "")), *shown])
        files[RULE_FILES] = f"[rules]\nfiles = {json.dumps(list(rules))}\n"
    return files


def _rule_files(config: str) -> list[str]:
    try:
        rules = toml.load(config).get("rules")
    except ValueError:
        return []
    files = rules.get("files") if isinstance(rules, dict) else None
    return [name for name in files if isinstance(name, str)] if isinstance(files, list) else []


def daemon_name(name: str) -> str:
    """Where the file of the card goes; empty for one that is none of the daemon's."""
    if name == CONFIG:
        return OWN
    if name.startswith(SHOW) and name.endswith(".toml"):
        return f"conf.d/60-show-{name.removeprefix(SHOW)}"
    return name if name.startswith((TLS, SHOW)) else ""
