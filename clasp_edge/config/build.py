"""From plain TOML tables to the typed model, going on after a problem so that all of them are reported at once.

msgspec converts each single value; the walk over the tables is done here because msgspec stops at the first fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import msgspec
from msgspec import inspect

from clasp_edge.config.checks import disagreements
from clasp_edge.config.listen import MAX_PORT, Listen, parse_listen
from clasp_edge.config.model import Section

Report = Callable[[str, str], None]
S = TypeVar("S", bound=Section)

# A longer value in a message would hide what is said about it.
LONGEST_QUOTE = 60

TABLES = tuple[dict[str, Any], ...]
"""Of keys that are read elsewhere."""

# Never quoted in a message, which may end up in a log.
SECRET_KEYS = frozenset({"token", "password"})


class Refused(Exception):
    """A value does not fit its key; the text says what would."""


def build(kind: type[S], raw: Mapping[str, object], path: str, report: Report) -> S | None:
    """`kind` from the table `raw`, or None after calling `report(key path, sentence)` for each problem found."""
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    sound = True
    for key in raw:
        if key not in fields:
            report(path + key, f"unknown key{_closest(key, list(fields))}")
            sound = False
    for key, field in fields.items():
        if key not in raw:
            if field.required:
                report(path + key, "missing")
                sound = False
            continue
        value = _value(key, field.type, raw[key], path + key, report)
        sound = sound and value is not _BAD
        values[key] = value
    if not sound:
        return None
    part = kind(**values)
    for key, sentence in disagreements(part):
        report(path + key, sentence)
        sound = False
    return part if sound else None


# Not None, which is a proper value of some keys.
_BAD = object()


def _value(key: str, wanted: Any, value: object, path: str, report: Report) -> object:
    """`value` as the type `wanted`, or _BAD after reporting why not."""
    if isinstance(wanted, type) and issubclass(wanted, Section):
        if not isinstance(value, dict):
            # `[[rules]]` is meant to be what `[[rule]]` is.
            several = f"; a list of them is [[{path[:-1]}]]" if isinstance(value, list) and path == "rules" else ""
            report(path, f"must be a table: [{path}]{several}")
            return _BAD
        part = build(wanted, value, f"{path}.", report)
        return _BAD if part is None else part
    if get_origin(wanted) is dict and isinstance(get_args(wanted)[1], type):
        return _named_tables(get_args(wanted)[1], value, path, report)
    if (row := _row_type(wanted)) is not None:
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            report(path, f"must be a list of tables: [[{path}]]")
            return _BAD
        rows = [build(row, item, f"{path}[{index}].", report) for index, item in enumerate(value)]
        return _BAD if None in rows else tuple(rows)
    try:
        return _scalar(key, wanted, value)
    except Refused as refusal:
        report(path, str(refusal))
        return _BAD


def _named_tables(kind: type[Section], value: object, path: str, report: Report) -> object:
    """A table of tables, each with a name that the file chooses."""
    if not isinstance(value, dict) or not all(isinstance(item, dict) for item in value.values()):
        report(path, f"must be tables with names: [{path}.NAME]")
        return _BAD
    parts = {name: build(kind, item, f"{path}.{name}.", report) for name, item in value.items()}
    return _BAD if None in parts.values() else parts


def _scalar(key: str, wanted: Any, value: object) -> object:
    if wanted == Listen | None:
        if not isinstance(value, str):
            raise Refused(
                f'must be text such as "0.0.0.0:7330" or "off", not {_quoted(key, value)}{_port_alone(value)}'
            )
        try:
            return parse_listen(value)
        except ValueError as error:
            raise Refused(str(error)) from None
    if wanted == TABLES and isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return tuple(value)  # of thousands msgspec makes copies, all in one go
    if wanted is Path:
        if not isinstance(value, str) or not value or "\0" in value:
            raise Refused(f"must be the path of a directory, not {_quoted(key, value)}")
        try:
            return Path(value).expanduser().absolute()
        except RuntimeError:
            raise Refused(f"the home directory in {_quoted(key, value)} is not known") from None
    try:
        return msgspec.convert(value, wanted)
    except msgspec.ValidationError:
        raise Refused(f"must be {describe(wanted)}, not {_quoted(key, value)}") from None


def _port_alone(value: object) -> str:
    """A hint for who gives a listener only its port; as text, it is `parse_listen` that says no."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_PORT:
        return f'; ":{value}" is this port on every interface'
    return ""


def _row_type(wanted: Any) -> type[Section] | None:
    """The table type of a list of tables, or None for any other type."""
    if get_origin(wanted) is tuple and isinstance(first := get_args(wanted)[0], type) and issubclass(first, Section):
        return first
    return None


def describe(wanted: Any) -> str:
    """The values a key takes, in words."""
    if type(None) in get_args(wanted):
        wanted = get_args(wanted)[0]
    match inspect.type_info(wanted):
        case inspect.IntType(ge=low, le=high):
            return f"a whole number from {low} to {high}"
        case inspect.FloatType(ge=low, le=high):
            return f"a number from {low:.15g} to {high:.15g}"
        case inspect.StrType(min_length=shortest, max_length=longest):
            return f"text of {shortest or 0} to {longest} characters"
        case inspect.LiteralType():
            # From the declaration, which has the order of meaning; msgspec sorts them.
            *first, last = (f'"{value}"' if isinstance(value, str) else str(value) for value in get_args(wanted))
            return f"{', '.join(first)} or {last}"
        case inspect.VarTupleType(item_type=inspect.DictType()):
            return "a list of tables"
        case inspect.VarTupleType(min_length=shortest):
            return "a list of at least one text" if shortest else "a list of texts"
        case inspect.UnionType():
            return "text or a list of texts"
        case inspect.DictType(value_type=inspect.DictType()):
            return "tables with names"
        case inspect.DictType(value_type=inspect.LiteralType()):
            *first, last = (f'"{value}"' for value in get_args(get_args(wanted)[1]))
            return f"a table of patterns, each with {', '.join(first)} or {last}"
        case inspect.BoolType():
            return "true or false"
        case inspect.DateTimeType():
            return "a date and time with an offset from UTC, such as 2030-01-31T00:00:00Z"
    raise TypeError(f"no words for {wanted!r}")


def _quoted(key: str, value: object) -> str:
    if key in SECRET_KEYS:
        return "this"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "this list"
    if isinstance(value, bool):
        return str(value).lower()
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= LONGEST_QUOTE else f"{text[: LONGEST_QUOTE - 3]}..."


def _closest(key: str, known: Sequence[str]) -> str:
    """A hint at the key that was probably meant; where none is near, all there are."""
    import difflib  # only where a key is wrong

    close = difflib.get_close_matches(key, known, n=1)
    return f'; the closest valid key is "{close[0]}"' if close else f"; the valid keys are {', '.join(known)}"
