"""`clasp-edge rules`: what the running router's rules do, and rules tried out without a router.

Exit status 0 done, 1 the rules are wrong or the router says no, 3 no running router was reached.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clasp_edge.config.model import Config
from clasp_edge.console.client import NotReached, Refused, ask
from clasp_edge.console.place import places
from clasp_edge.text_file import lines_from, no_text, read_text

EXIT_OK = 0
EXIT_WRONG = 1
EXIT_NOT_REACHED = 3


def run_live(arguments: argparse.Namespace, config: Config, *, also_system: bool) -> int:
    """What needs the running router: list, show, trace, enable, disable."""
    sockets = places(config, also_system=also_system)
    action = arguments.action
    try:
        if action == "list":
            found = ask(sockets, {"request": "rules", "action": "list"})
            print(json.dumps(found, indent=2) if arguments.json else _listed(found["rules"]))
        else:
            request = {"request": "rules", "action": "trace" if action == "show" else action, "id": arguments.id}
            found = ask(sockets, request)
            print("\n".join(_traced(found) if action == "trace" else _shown(arguments.id, found)))
    except Refused as refusal:
        print(f"clasp-edge: {refusal}", file=sys.stderr)
        return EXIT_WRONG
    except NotReached as fault:
        print(f"clasp-edge: {fault}", file=sys.stderr)
        return EXIT_NOT_REACHED
    return EXIT_OK


def _listed(rules: Mapping[str, Any]) -> str:
    if not rules:
        return "there are no rules"
    width = max(map(len, rules))
    return "\n".join(
        f"{rule:{width}}  {_state(one):8}  fired {one['fired']:>6}  {one['last_error']}".rstrip()
        for rule, one in rules.items()
    )


def _state(one: Mapping[str, Any]) -> str:
    return ("watches" if one["mode"] == "watch" else "enabled") if one["enabled"] else "disabled"


def _shown(rule: str, found: Mapping[str, Any]) -> list[str]:
    fired = found["last_fired"]
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(fired)) if fired else "never"
    return [
        f"rule        {rule}" + (f" ({found['name']})" if found["name"] != rule else ""),
        f"state       {_state(found)}",
        f"fired       {found['fired']} times, last {when}",
        f"refused     {found['refused']} times",
        f"errors      {found['errors']}" + (f", last: {found['last_error']}" if found["last_error"] else ""),
        *([f"would       {found.get('would') or 'nothing yet'}"] if found["mode"] == "watch" else []),
    ]


def _traced(found: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{time.strftime('%H:%M:%S', time.localtime(at := entry['time']))}.{int(at % 1 * 1000):03}  {entry['text']}"
        for entry in found["trace"]
    ]
    return lines or ["nothing has set it off yet"]


# ---- without a router ----


def test(path: Path) -> int:
    """Run the rules of a file on the lines of standard input; prints what they would do, and when."""
    from clasp_edge.rules.dry_run import BadLine, DryRun
    from clasp_edge.rules.files import read_all

    try:
        raw = _read(path)
    except ValueError as error:
        print(f"clasp-edge: {path}: {error}", file=sys.stderr)
        return EXIT_WRONG
    rules, problems, remarks = read_all(raw["rule"], raw["map"], raw["scene"], raw["files"])
    for where, sentence in problems:
        print(f"clasp-edge: {path}: {where}: {sentence}", file=sys.stderr)
    if problems:
        return EXIT_WRONG
    for remark in remarks:
        print(f"# {remark}")
    world = DryRun(print)
    world.load(rules, raw["scene"])
    world.start()
    status = EXIT_OK
    number = 0
    try:
        for number, line in enumerate(lines_from(sys.stdin), 1):
            try:
                world.line(line)
            except BadLine as error:
                print(f"clasp-edge: line {number}: {error}", file=sys.stderr)
                status = EXIT_WRONG
    except UnicodeDecodeError as error:
        print(f"clasp-edge: what follows line {number} {no_text(error)}", file=sys.stderr)
        status = EXIT_WRONG
    return status


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".json":
        return {"rule": [], "map": [], "scene": {}, "files": [str(path)]}
    try:
        found = tomllib.loads(read_text(path))
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ValueError(no_text(error)) from None
    except RecursionError:
        raise ValueError("is not TOML: lists and tables are nested too deeply") from None
    section = found.get("rules", {})
    files = section.get("files", []) if isinstance(section, dict) else None
    parts = {
        "rule": found.get("rule", []), "map": found.get("map", []), "scene": found.get("scene", {}), "files": files,
    }  # fmt: skip
    for name, part in parts.items():
        each = part.values() if isinstance(part, dict) else part if isinstance(part, list) else [None]
        wanted = str if name == "files" else dict
        if isinstance(part, dict) is not (name == "scene") or not all(isinstance(one, wanted) for one in each):
            shown = {"files": 'a list of names (rules.files = ["..."])', "scene": "tables ([scene.NAME])"}
            raise ValueError(f"{name}: must be {shown.get(name, f'a list of tables ([[{name}]])')}")
    return parts


def convert(path: Path) -> int:
    """Print `[[rule]]` tables made from JSON."""
    from clasp_edge.rules.dialects import NotRules, convert, read_json, tables_of

    remarks: list[str] = []
    try:
        found = read_json(path)
        try:
            tables = tables_of(found, remarks.append)
        except NotRules as error:
            if "desktop application" not in str(error):
                raise
            tables = convert(found, remarks.append)
        lines = [_table(table) for table in tables]
    except NotRules as error:
        print(f"clasp-edge: {path}: {error}", file=sys.stderr)
        return EXIT_WRONG
    for remark in remarks:
        print(f"# {remark}")
    print("\n".join(lines))
    return EXIT_OK


def _table(table: Mapping[str, Any]) -> str:
    """A `[[rule]]` table. Raises NotRules."""
    from clasp_edge.rules.dialects import NotRules

    if _has_null(table):
        raise NotRules(f'rule "{table["id"]}": has null in it, which TOML cannot say; leave the file in rules.files')
    return "".join(["[[rule]]\n", *(f"{key} = {_toml(value)}\n" for key, value in table.items())])


def _has_null(value: Any) -> bool:
    if isinstance(value, Mapping | list):
        return any(map(_has_null, value.values() if isinstance(value, Mapping) else value))
    return value is None


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    # JSON's texts and numbers are TOML's, but for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    return (
        key
        if key.replace("_", "").replace("-", "").isalnum() and key.isascii()
        else json.dumps(key, ensure_ascii=False).replace("\x7f", "\\u007f")
    )
