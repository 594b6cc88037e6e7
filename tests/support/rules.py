"""Rules in a dry run, for tests of what they do."""

from __future__ import annotations

from typing import Any

from clasp_edge.rules.dry_run import DryRun
from clasp_edge.rules.parse import read_rules


def world_of(*tables: dict[str, Any], maps: Any = ()) -> tuple[DryRun, list[str]]:
    """A dry run of these rules, and what it tells."""
    faults: list[str] = []
    rules = read_rules(tables, maps, {}, lambda key, sentence: faults.append(f"{key}: {sentence}"))
    assert not faults
    told: list[str] = []
    world = DryRun(lambda line: told.append(line.split(None, 1)[1]))
    world.load(rules)
    world.start()
    return world, told
