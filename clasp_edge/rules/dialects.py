"""Rules written for the reference router: its JSON, its documented form, its SDK's form, made `[[rule]]` tables.

The three are taken as they are; where they mean something that this engine does differently, a remark says so. The
desktop application's export is another thing (`convert`): it has no ids, and times in milliseconds.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from clasp_edge.rules.table import LARGEST, quoted

MAX_TRIGGERS = 16
"""Patterns that one with braces is spelled out as."""

_BRACES = re.compile(r"\{([^{}]*)\}")
_ONE = re.compile(r"(?<=/)(?:\?|\[[^\]/]+\])+(?=/|$)")

LARGEST_FILE_BYTES = 16 * 1024 * 1024

Remark = Callable[[str], None]


class NotRules(ValueError):
    """A file that holds no rules; the text says why."""


def read_file(path: Path, remark: Remark) -> list[dict[str, Any]]:
    """The `[[rule]]` tables of a JSON file. Raises NotRules, which names the file's line where it can."""
    return tables_of(read_json(path), remark)


def read_json(path: Path) -> Any:
    """What a JSON file says. Raises NotRules."""
    try:
        if path.exists() and not path.is_file():
            raise NotRules("is no ordinary file")
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise NotRules(f"is larger than {LARGEST_FILE_BYTES >> 20} MiB")
        content = path.read_bytes()
        found = json.loads(content, parse_int=_whole)
        if b"\\ud" in content.lower():
            json.dumps(found, ensure_ascii=False).encode()
    except OSError as error:
        raise NotRules(f"cannot be read: {error.strerror or error}") from None
    except json.JSONDecodeError as error:
        raise NotRules(f"line {error.lineno}: is not JSON: {error.msg}") from None
    except UnicodeEncodeError:
        raise NotRules(r"has half a character in it (\ud800 to \udfff without its other half)") from None
    except RecursionError:
        raise NotRules("is not JSON: it is nested too deeply") from None
    except ValueError as error:
        raise NotRules(f"is not JSON: {error}") from None
    return found


def _whole(digits: str) -> int | float:
    """As the reference reads them: what no 64 bits hold is a float."""
    value = int(digits) if len(digits) <= 20 else float(digits)
    return value if abs(value) < LARGEST else float(value)


def tables_of(found: Any, remark: Remark) -> list[dict[str, Any]]:
    """The tables of parsed JSON: a list of rules, or an object that has them at `rules`. Raises NotRules."""
    rows = found.get("rules") if isinstance(found, Mapping) else found
    if not isinstance(rows, list):
        raise NotRules('must be a list of rules, or an object with "rules"')
    if rows and all(isinstance(row, Mapping) and "id" not in row and "trigger" in row for row in rows):
        raise NotRules('is an export of the desktop application; "clasp-edge rules convert FILE" makes rules of it')
    tables: dict[str, dict[str, Any]] = {}
    for index, row in enumerate(rows):
        table = _rule(row, index, remark)
        if tables.pop(table["id"], None) is not None:
            remark(f'rule "{table["id"]}": is there more than once; the last one counts')
        tables[table["id"]] = table
    return list(tables.values())


def _rule(row: Any, index: int, remark: Remark) -> dict[str, Any]:
    if isinstance(row, list):
        # In the order of the reference's fields, which its reader takes as well.
        row = dict(zip(("id", "name", "enabled", "trigger", "conditions", "actions", "cooldown"), row, strict=False))
    if not isinstance(row, Mapping):
        raise NotRules(f"rule {index + 1} is {quoted(row)}, not an object")
    given = row.get("id")
    if not isinstance(given, str) or not given:
        raise NotRules(f'rule {index + 1} has no "id"')
    where = f'rule "{given}"'
    table: dict[str, Any] = {"id": _safe_id(given), "enabled": row.get("enabled") is not False}
    if isinstance(row.get("name"), str) and row["name"]:
        table["name"] = row["name"]
    table["trigger"] = _trigger(row.get("trigger"), where, remark)
    if conditions := _list(row, "conditions", where):
        table["when"] = [_condition(one, where) for one in conditions]
    table["do"] = [_action(one, where, remark) for one in _list(row, "actions", where)]
    cooldown_s = _cooldown_s(row.get("cooldown"), where)
    if cooldown_s:
        table |= {"cooldown_s": cooldown_s, "cooldown_per": "rule"}
    return table


def _list(row: Mapping[str, Any], key: str, where: str) -> list[Any]:
    found = row.get(key)
    if found is None:
        return []
    if not isinstance(found, list):
        raise NotRules(f'{where}: "{key}" is {quoted(found)}, not a list')
    return found


def _number(value: Any, where: str, what: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST:
        return float(value)
    raise NotRules(f"{where}: {what} is {quoted(value)}, not a number")


def _safe_id(given: str) -> str:
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "_.:-") else "-" for c in given)
    return safe.lstrip("_.:-")[:128] or "rule"


def _tagged(row: Any, where: str, what: str) -> tuple[str, Mapping[str, Any]]:
    """Name and fields of `{"OnChange": {...}}`, `"OnChange"` or `{"type": "on_change", ...}`; names in snake case."""
    if isinstance(row, str):
        return _snake(row), {}
    if isinstance(row, Mapping):
        if isinstance(row.get("type"), str):
            return _snake(row["type"]), {key: value for key, value in row.items() if key != "type"}
        if len(row) == 1:
            [(name, fields)] = row.items()
            return _snake(str(name)), fields if isinstance(fields, Mapping) else {}
    raise NotRules(f"{where}: {what} is {quoted(row)}; an object with one name, or with a type")


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() and at else c.lower() for at, c in enumerate(name))


def _trigger(row: Any, where: str, remark: Remark) -> dict[str, Any] | list[dict[str, Any]]:
    name, fields = _tagged(row, where, "the trigger")
    pattern = fields.get("pattern", fields.get("address"))
    match name:
        case "on_change":
            # The reference fires at every SET, whether the value is another one or not.
            return _of_patterns("set", pattern, where, remark)
        case "on_threshold":
            remark(f"{where}: fires when the value crosses the threshold, not at each value beyond it (level = true)")
            limits = {key: fields[key] for key in ("above", "below") if fields.get(key) is not None}
            if not limits:
                return {"type": "set", "address": pattern}
            return {"type": "threshold", "address": pattern, **limits}
        case "on_event":
            return _of_patterns("event", pattern, where, remark)
        case "on_interval":
            return {"type": "interval", "every_s": fields.get("seconds", 0), "at_start": True}
        case "on_session_join" | "on_session_leave":
            event = "join" if name.endswith("join") else "leave"
            return {"type": "session", "event": event, "name": pattern or "*"}
    raise NotRules(f'{where}: there is no trigger "{name}"')


def _of_patterns(kind: str, pattern: Any, where: str, remark: Remark) -> dict[str, Any] | list[dict[str, Any]]:
    """The trigger for a pattern of the reference, whose patterns are globs everywhere."""
    if not isinstance(pattern, str) or any("*" in one.strip("*") for one in pattern.split("/")):
        return {"type": kind, "pattern": pattern}
    if pattern.endswith("/**"):
        remark(f'{where}: "{pattern}" also stands for "{pattern[:-3]}" itself here')
    wider = _ONE.sub("*", pattern)
    if wider != pattern:
        remark(f'{where}: "{pattern}" is read as "{wider}": "?" and "[...]" stand for a whole segment here')
    pieces = [piece.split(",") for piece in _BRACES.findall(wider)]
    if not pieces or math.prod(map(len, pieces)) > MAX_TRIGGERS:
        return {"type": kind, "pattern": wider}
    between = _BRACES.split(wider)[::2]
    spelled = ["".join(map("".join, zip(between, (*chosen, ""), strict=True))) for chosen in product(*pieces)]
    return [{"type": kind, "pattern": one} for one in spelled]


def _condition(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        raise NotRules(f"{where}: a condition is {quoted(row)}, not an object")
    return {
        "address": row.get("address"),
        "op": _snake(str(row.get("op", row.get("operator")))),
        "value": row.get("value"),
    }


def _action(row: Any, where: str, remark: Remark) -> dict[str, Any]:
    name, fields = _tagged(row, where, "an action")
    address = fields.get("address")
    match name:
        case "set":
            return {"set": address, "value": fields.get("value")}
        case "publish":
            table = {"publish": address, "signal": _snake(str(fields.get("signal") or "event"))}
            return table if fields.get("value") is None else table | {"value": fields["value"]}
        case "set_from_trigger":
            table = {"set": address, "from": "trigger"}
            transform = _transform(fields.get("transform"), where)
            return table if transform is None else table | {"transform": transform}
        case "delay":
            milliseconds = fields.get("milliseconds", fields.get("ms", 0))
            if milliseconds:
                remark(f"{where}: the delay of {milliseconds} ms is kept; the reference ignores it")
            return {"delay_ms": milliseconds}
    raise NotRules(f'{where}: there is no action "{name}"')


def _transform(row: Any, where: str) -> dict[str, Any] | None:
    if row is None:
        return None
    name, fields = _tagged(row, where, "a transform")
    table = {"type": name, **{key: value for key, value in fields.items() if value is not None}}
    if name == "identity":
        return None
    if name == "map":
        table["type"] = "lookup"
    if name == "round" and "precision" in table:
        table["decimals"] = table.pop("precision")
    if name == "threshold" and "above" not in table and "below" not in table:
        table |= {"above": True, "below": False}
    return table


def _cooldown_s(value: Any, where: str) -> float:
    if value is None:
        return 0.0
    if isinstance(value, int | float):
        return _number(value, where, "the cooldown")
    if isinstance(value, list) and len(value) == 2:
        value = {"secs": value[0], "nanos": value[1]}
    if isinstance(value, Mapping) and value.keys() == {"secs", "nanos"}:
        return _number(value["secs"], where, "secs") + _number(value["nanos"], where, "nanos") / 1e9
    raise NotRules(f"{where}: the cooldown is {quoted(value)}; seconds, or secs and nanos")


# ---- the desktop application's export ----

_DIRECTIONS = {"rising": ("above",), "falling": ("below",), "both": ("above", "below")}


def convert(found: Any, remark: Remark) -> list[dict[str, Any]]:
    """`[[rule]]` tables of an export of the desktop application. Raises NotRules."""
    rows = found.get("rules") if isinstance(found, Mapping) else found
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise NotRules("must be a list of rules")
    tables: dict[str, dict[str, Any]] = {}
    for index, row in enumerate(rows):
        table = _converted(row, index, remark)
        name, count = table["id"], 1
        while table["id"] in tables:  # they have names, and several may have the same
            count += 1
            table["id"] = f"{name[:120]}-{count}"
        tables[table["id"]] = table
    return list(tables.values())


def _converted(row: Mapping[str, Any], index: int, remark: Remark) -> dict[str, Any]:
    name = str(row.get("name") or f"rule {index + 1}")
    where = f'rule "{name}"'
    trigger = row.get("trigger")
    if not isinstance(trigger, Mapping):
        raise NotRules(f"{where}: has no trigger")
    table: dict[str, Any] = {"id": _safe_id(name.lower().replace(" ", "-")), "name": name}
    table["enabled"] = row.get("enabled") is not False
    table["trigger"] = _export_trigger(trigger, where)
    if conditions := _list(row, "conditions", where):
        table["when"] = [_condition(one, where) for one in conditions]
    actions: list[dict[str, Any]] = []
    for action in _list(row, "actions", where):
        if not isinstance(action, Mapping):
            raise NotRules(f"{where}: an action is {quoted(action)}, not an object")
        if action.get("delayMs"):
            actions.append({"delay_ms": action["delayMs"]})
        actions.append(_export_action(action, where, remark))
    table["do"] = actions
    if row.get("cooldown"):
        cooldown_s = _number(row["cooldown"], where, "the cooldown") / 1000
        table |= {"cooldown_s": cooldown_s, "cooldown_per": "rule"}
    return table


def _export_trigger(trigger: Mapping[str, Any], where: str) -> dict[str, Any] | list[dict[str, Any]]:
    kind = _snake(str(trigger.get("type"))).removeprefix("on_")
    address = trigger.get("address", trigger.get("event"))
    match kind:
        case "change":
            return {"type": "change", "pattern": address}
        case "event":
            return {"type": "event", "pattern": trigger.get("event", address)}
        case "interval" | "timer":
            return {"type": "interval", "every_s": trigger.get("seconds", 1)}
        case "threshold":
            sides = _DIRECTIONS.get(str(trigger.get("direction") or "rising"), ("above",))
            limit = trigger.get("threshold", 0)
            found = [{"type": "threshold", "address": address, side: limit} for side in sides]
            return found if len(found) > 1 else found[0]
    raise NotRules(f'{where}: there is no trigger "{kind}"')


def _export_action(action: Mapping[str, Any], where: str, remark: Remark) -> dict[str, Any]:
    kind = _snake(str(action.get("type")))
    address = action.get("address")
    if kind == "publish":
        table = {"publish": address, "signal": str(action.get("signal") or "event")}
        return table if action.get("value") is None else table | {"value": action["value"]}
    transform = action.get("transform")
    if kind in ("set_from_trigger", "copy") or transform:
        table = {"set": address, "from": "trigger"}
        if transform and transform != "identity":
            remark(f'{where}: the transform "{transform}" is written as text there; look whether it is what you mean')
            table["transform"] = {"type": "expression", "expr": str(transform)}
        return table
    return {"set": address, "value": action.get("value")}
