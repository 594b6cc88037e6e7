"""How much the tests notice: small faults put into the rooms that decide about data, one at a time (`make mutation`).

For each room a random sample of cosmic-ray's mutants (`--mutants`, `--seed`), each tried with the tests of that room in
a copy of the checkout. Prints the share that a test has noticed, and each one that none has, as a diff: it is either a
test that is missing, or code that makes no difference. Compiled code is not mutated, nor are annotations.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec

ROOT = Path(__file__).parents[2]

ROOMS = {
    "wire": ["tests/wire"],
    "router": ["tests/router", "tests/adversary"],
    "federation/shared": ["tests/federation/shared", "tests/federation/downstream", "tests/federation/upstream"],
    "journal": ["tests/journal"],
}

SHORTEST_LIMIT_S = 300
"""A mutant that goes round in circles is noticed after so long, or SLOWER times as long as the tests take without."""

SLOWER = 5


def copy_of_the_checkout(target: Path) -> None:
    """What is tracked by git, and the compiled modules."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout.split(
        b"\0"
    )
    built = [os.fsencode(path.relative_to(ROOT)) for path in ROOT.glob("clasp_edge/**/*.so")]
    for name in filter(None, [*tracked, *built]):
        source, copy = ROOT / os.fsdecode(name), target / os.fsdecode(name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, copy, follow_symlinks=False)


def annotated(path: Path) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where a file's annotations begin and end: (line, column) each. Nobody evaluates them."""
    found: list[ast.expr | None] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.AnnAssign | ast.arg):
            found.append(node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(node.returns)
    return [
        ((node.lineno, node.col_offset), (node.end_lineno or node.lineno, node.end_col_offset or 0))
        for node in found
        if node is not None
    ]


def mutants(paths: list[Path], database: Path) -> Iterator[MutationSpec]:
    """All that cosmic-ray would make of these files."""
    with use_db(database, mode=WorkDB.Mode.create) as work:
        init(paths, work, {})  # type: ignore[operator]
        for item in work.work_items:
            (mutation,) = item.mutations
            ignored = annotated(Path(mutation.module_path))
            if not any(begin <= mutation.start_pos < end for begin, end in ignored):
                yield mutation


def noticed(tests: list[str], tree: Path, limit_s: float | None) -> bool:
    """Whether a test fails, or they come to no end in `limit_s`."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "EXAMPLES": "few"}
    try:
        return (
            subprocess.call(
                command,
                cwd=tree,
                env=environment,
                timeout=limit_s,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            != 0
        )
    except subprocess.TimeoutExpired:
        return True


def try_room(room: str, tests: list[str], tree: Path, number: int, seed: int) -> float:
    """The share of `number` mutants of one room that its tests notice."""
    compiled = {path.name.partition(".")[0] for path in (tree / "clasp_edge" / room).glob("*.so")}
    paths = [path for path in sorted((tree / "clasp_edge" / room).glob("**/*.py")) if path.stem not in compiled]
    everything = list(mutants(paths, tree / "mutants.sqlite"))
    sample = random.Random(seed).sample(everything, min(number, len(everything)))
    began = time.monotonic()
    if noticed(tests, tree, None):
        raise SystemExit(f"{room}: the tests fail as it is")
    limit_s = max(SHORTEST_LIMIT_S, SLOWER * (time.monotonic() - began))
    survivors = 0
    began = time.monotonic()
    for mutation in sample:
        operator = get_operator(mutation.operator_name)(**mutation.operator_args)
        path = Path(mutation.module_path)
        with use_mutation(path, operator, mutation.occurrence) as (before, after):
            if after is None or noticed(tests, tree, limit_s):
                continue
        survivors += 1
        line = mutation.start_pos[0]
        print(f"{room}: nobody notices {mutation.operator_name} at {path.relative_to(tree)}:{line}")
        print(f"  - {before.splitlines()[line - 1].strip()}\n  + {after.splitlines()[line - 1].strip()}", flush=True)
    share = 1 - survivors / len(sample)
    took = time.monotonic() - began
    print(
        f"{room}: {share:.0%} of {len(sample)} mutants noticed ({len(everything)} there are), {took:.0f} s", flush=True
    )
    return share


def main() -> None:
    parser = argparse.ArgumentParser(prog="make mutation", description=__doc__)
    parser.add_argument("--rooms", nargs="+", choices=ROOMS, default=list(ROOMS))
    parser.add_argument("--mutants", type=int, default=100, help="of each room; 100 take about an hour")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory)
        copy_of_the_checkout(tree)
        for room in arguments.rooms:
            try_room(room, ROOMS[room], tree, arguments.mutants, arguments.seed)


if __name__ == "__main__":
    main()
