"""All rules of a configuration: its tables, and the JSON files that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clasp_edge.rules.dialects import NotRules, read_file
from clasp_edge.rules.model import Rule
from clasp_edge.rules.parse import read_rules

Problems = list[tuple[str, str]]


def read_all(
    tables: Sequence[Any], maps: Sequence[Any], scenes: Mapping[str, Mapping[str, Any]], files: Sequence[str]
) -> tuple[list[Rule], Problems, list[str]]:
    """The rules, `(key path or file, sentence)` for each problem, and remarks on what was written for the reference
    router and means something else here. Order: tables, then files as listed, then maps."""
    problems: Problems = []
    remarks: list[str] = []
    gathered = list(tables)
    origins: list[str] = [f"rule[{index}]" for index in range(len(tables))]
    for name in files:
        try:
            found = read_file(Path(name), lambda remark, name=name: remarks.append(f"{name}: {remark}"))  # type: ignore[misc]
        except NotRules as error:
            problems.append((name, str(error)))
            continue
        gathered += found
        origins += [f'{name}: rule "{table["id"]}"' for table in found]

    def report(key: str, sentence: str) -> None:
        head, dot, rest = key.partition(".")
        if head.startswith("rule[") and head.endswith("]"):
            head = origins[int(head[5:-1])]
        problems.append((f"{head}{dot}{rest}", sentence))

    return read_rules(gathered, maps, scenes, report), problems, remarks
