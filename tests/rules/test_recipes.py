"""Every recipe of docs/rules.md does what stands below it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from clasp_edge.rules.dry_run import DryRun
from clasp_edge.rules.parse import read_rules

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"
RECIPE = re.compile(r"^### (.+?)\n+```toml\n(.+?)```\n+```\n(.+?)```", re.MULTILINE | re.DOTALL)


def recipes() -> list[tuple[str, str, str]]:
    found = RECIPE.findall(PAGE.read_text(encoding="utf-8"))
    assert len(found) >= 10
    return found


@pytest.mark.parametrize(("name", "rules", "session"), recipes())
def test_recipe(name: str, rules: str, session: str) -> None:
    raw = tomllib.loads(rules)
    problems: list[str] = []
    read = read_rules(
        raw.get("rule", ()),
        raw.get("map", ()),
        raw.get("scene", {}),
        lambda key, text: problems.append(f"{key}: {text}"),
    )
    assert not problems
    done: list[str] = []
    world = DryRun(lambda line: done.append(line[12:]))
    world.load(read, raw.get("scene", {}))
    world.start()
    said: list[str] = []
    for line in session.splitlines():
        if line.startswith("> "):
            assert done == said, f"before {line!r}"
            done.clear()
            said.clear()
            world.line(line[2:])
        else:
            said.append(line)
    assert done == said
