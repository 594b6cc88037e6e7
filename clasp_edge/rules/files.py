"""All rules of a configuration: its tables, and the JSON files that it names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clasp_edge.rules.dialects import NotRules, read_file
from clasp_edge.rules.model import Rule
from clasp_edge.rules.parse import read_rules

MAX_TOLD = 200
"""Problems, and remarks: nobody reads more, and each is looked up in its file."""

_INDEXED = re.compile(r"rule\[(\d{1,6})\]")
_NAMED = re.compile(r'rule "([^"]*)"')
_INDEXED_END = re.compile(r"(?<=the id of )rule\[(\d{1,6})\]$")

Problems = list[tuple[str, str]]


def read_all(
    tables: Sequence[Any], maps: Sequence[Any], scenes: Mapping[str, Mapping[str, Any]], files: Sequence[str]
) -> tuple[list[Rule], Problems, list[str]]:
    """The rules, `(key path or file, sentence)` for each problem, and remarks on what was written for the reference
    router and means something else here. Order: tables, then files as listed, then maps."""
    problems: Problems = []
    remarks: list[str] = []
    gathered = list(tables)
    # Where a rule stands: in the configuration, or in a file with its id.
    origins: list[str | tuple[Path, str]] = [f"rule[{index}]" for index in range(len(tables))]
    for name in files:
        path = Path(name)
        try:
            found = read_file(path, lambda remark, name=name: _remark(remarks, f"{name}: {remark}"))  # type: ignore[misc]
        except NotRules as error:
            named = _NAMED.match(str(error))
            problems.append((name if named is None else _with_line(path, named[1]), str(error)))
            continue
        gathered += found
        origins += [(path, table["id"]) for table in found]

    def placed(key: str) -> str:
        index = _INDEXED.match(key)
        origin = origins[int(index[1])] if index is not None and int(index[1]) < len(origins) else ""
        if index is None or not origin:
            return key
        head = origin if isinstance(origin, str) else f'{_with_line(*origin)}: rule "{origin[1]}"'
        return f"{head}{key[index.end() :]}"

    def report(key: str, sentence: str) -> None:
        if len(problems) < MAX_TOLD:
            problems.append((placed(key), _INDEXED_END.sub(lambda found: placed(found[0]), sentence)))
        elif len(problems) == MAX_TOLD:
            problems.append(("rule", f"there are more problems; these are the first {MAX_TOLD}"))

    return read_rules(gathered, maps, scenes, report), problems, remarks


def _remark(remarks: list[str], remark: str) -> None:
    if len(remarks) < MAX_TOLD:
        remarks.append(remark)
    elif len(remarks) == MAX_TOLD:
        remarks.append(f"there is more to say of rules for the reference router; this is the first {MAX_TOLD}")


def _with_line(path: Path, rule: str) -> str:
    """The file, with the line on which the rule says its id, where it can be found."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return str(path)
    found = re.search(rf'"id"\s*:\s*"{re.escape(rule)}"', text)
    return str(path) if found is None else f"{path}:{text.count(chr(10), 0, found.start()) + 1}"
