"""A report in the Prometheus text format (version 0.0.4): HELP, TYPE, one line per sample. Knows no part by name."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from clasp_edge.console.sources import Family

MAX_SAMPLES = 2000
"""Of one metric. Above it the rest is left out: no collector shall be drowned by a crowd of devices."""


def metrics_text(report: Mapping[str, Any], families: Sequence[Family]) -> str:
    """Every family that the report has anything for. Families of one name stand together."""
    steps = metrics_in_parts(report, families)
    while True:
        try:
            next(steps)
        except StopIteration as made:
            return str(made.value)


def metrics_in_parts(report: Mapping[str, Any], families: Sequence[Family]) -> Generator[None, None, str]:
    """The same, and others may have their turn between two families."""
    heads: dict[str, Family] = {}
    samples: dict[str, list[str]] = {}
    for family in families:
        yield
        lines = samples.setdefault(family.name, [])
        heads.setdefault(family.name, family)
        for labels, value in _found(report, family.path):
            if len(labels) == len(family.labels) and len(lines) < MAX_SAMPLES:
                lines.append(f"{family.name}{_labels(family.labels, labels)} {value!r}")
    text = []
    for name, lines in samples.items():
        if lines:
            text += [f"# HELP {name} {_escaped(heads[name].help)}", f"# TYPE {name} {heads[name].kind}", *lines]
    return "\n".join(text) + "\n"


def _found(part: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int | float]]:
    if not path:
        if isinstance(part, (int, float)):
            yield (), int(part) if isinstance(part, bool) else part
        elif isinstance(part, str):
            yield (part,), 1
    elif isinstance(part, Mapping):
        if path[0] == "*":
            for key, inner in part.items():
                for labels, value in _found(inner, path[1:]):
                    yield (str(key), *labels), value
        elif path[0] in part:
            yield from _found(part[path[0]], path[1:])


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    if not names:
        return ""
    pairs = (f'{name}="{_escaped(value, quotes=True)}"' for name, value in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"


def _escaped(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text
