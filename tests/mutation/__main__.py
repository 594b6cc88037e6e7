"""How much the tests notice: small faults put into the rooms that decide about data, one at a time (`make mutation`).

For each room a random sample of cosmic-ray's mutants (`--mutants`, `--seed`), each tried in a copy of the checkout with
the tests of that room that start no process, those that name the mutated module first. Says of each mutant whether a
test has noticed it; of one that none has it shows the line: it is either a test that is missing, or code that makes no
difference. `--all` tries what is left with the room's other tests as well, which takes minutes for each. Compiled code
is not mutated, nor are annotations.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import functools
import os
import random
import re
import resource
import shutil
import signal
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

NO_TESTS = 5
"""pytest's status when none of the tests asked for is of that tier."""

SLOWER = 3
"""A mutant goes round in circles when it takes so many times the CPU time that the tests take without it ..."""

WAITS = 10
"""... and waits for what never comes after so many times their time by the clock: other load counts there."""

AT_LEAST_S = 10


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


@functools.cache
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


def passes(tests: list[str], tree: Path, cpu_s: float | None = None, wait_s: float | None = None) -> bool:
    """Whether no test fails, within so much time of CPU and by the clock."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "EXAMPLES": "few"}
    environment["EXAMPLES_SHRINK"] = "no"
    process = subprocess.Popen(
        command, cwd=tree, env=environment, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    if cpu_s is not None:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_CPU, (int(cpu_s), int(cpu_s) + 1))
    try:
        return process.wait(wait_s) in (0, NO_TESTS)
    except subprocess.TimeoutExpired:
        return False
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that its tests have started
        process.wait()


def naming(module: str, tests: list[str], tree: Path) -> list[str]:
    """The files of tests in which this module is imported."""
    package, _, name = module.rpartition(".")
    imported = re.compile(rf"\b{re.escape(module)}\b|from {re.escape(package)} import [^\n]*\b{name}\b")
    files = [path for folder in tests for path in sorted((tree / folder).rglob("test_*.py"))]
    return [str(path.relative_to(tree)) for path in files if imported.search(path.read_text("utf-8"))]


class Room:
    """One room's tests in a copy of the checkout, and what they take when nothing is wrong."""

    def __init__(self, tests: list[str], tree: Path, *, everything: bool) -> None:
        self._tree = tree
        self._tests = tests
        self._everything = everything
        began_s, cpu_s = time.monotonic(), _cpu_of_children_s()
        if not self._unnoticed(None):
            raise SystemExit(f"{' '.join(tests)}: the tests fail as it is")
        self.took_s = time.monotonic() - began_s
        self._cpu_s = SLOWER * (_cpu_of_children_s() - cpu_s) + AT_LEAST_S
        self._wait_s = WAITS * self.took_s + AT_LEAST_S

    def notices(self, path: Path) -> bool:
        """Whether a test fails with this file as it is now, or comes to no end."""
        module = ".".join(path.relative_to(self._tree).with_suffix("").parts)
        return not self._unnoticed(module, self._cpu_s, self._wait_s)

    def _unnoticed(self, module: str | None, cpu_s: float | None = None, wait_s: float | None = None) -> bool:
        near = naming(module, self._tests, self._tree) if module else []
        tries = [["-m", "unit", *near], ["-m", "unit", *self._tests]] if near else [["-m", "unit", *self._tests]]
        if self._everything:
            tries.append(["-m", "not unit", *self._tests])
        return all(passes(tests, self._tree, cpu_s, wait_s) for tests in tries)


def _cpu_of_children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def try_room(room: str, tree: Path, number: int, seed: int, *, everything: bool) -> None:
    """How many of `number` mutants of one room its tests notice, each as it is tried."""
    compiled = {path.name.partition(".")[0] for path in (tree / "clasp_edge" / room).glob("*.so")}
    paths = [path for path in sorted((tree / "clasp_edge" / room).glob("**/*.py")) if path.stem not in compiled]
    print(f"{room}: looking for what can be mutated in {len(paths)} files", flush=True)
    possible = list(mutants(paths, tree / "mutants.sqlite"))
    sample = random.Random(seed).sample(possible, min(number, len(possible)))
    tests = Room(ROOMS[room], tree, everything=everything)
    print(f"{room}: {len(sample)} of {len(possible)} mutants; the tests take {tests.took_s:.0f} s", flush=True)
    tried = survivors = 0
    began_s = time.monotonic()
    for index, mutation in enumerate(sample, 1):
        operator = get_operator(mutation.operator_name)(**mutation.operator_args)
        path = Path(mutation.module_path)
        line = mutation.start_pos[0]
        began_mutant_s = time.monotonic()
        with use_mutation(path, operator, mutation.occurrence) as (before, after):
            if after is None or after == before:
                continue
            found = tests.notices(path)
        tried += 1
        survivors += not found
        word = "noticed" if found else "NOBODY NOTICES"
        took_s = time.monotonic() - began_mutant_s
        name = mutation.operator_name.rpartition("/")[2]
        print(
            f"{room} {index}/{len(sample)}: {word}, {took_s:.0f} s: {path.relative_to(tree)}:{line} {name}", flush=True
        )
        if not found:
            print(
                f"  - {before.splitlines()[line - 1].strip()}\n  + {after.splitlines()[line - 1].strip()}", flush=True
            )
    took_s = time.monotonic() - began_s
    print(f"{room}: {tried - survivors} of {tried} mutants noticed, {took_s:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make mutation", description=__doc__)
    parser.add_argument("--rooms", nargs="+", choices=ROOMS, default=list(ROOMS))
    parser.add_argument("--mutants", type=int, default=40, help="of each room")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--all", action="store_true", help="also the room's tests that start processes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory)
        copy_of_the_checkout(tree)
        for room in arguments.rooms:
            try_room(room, tree, arguments.mutants, arguments.seed, everything=arguments.all)


if __name__ == "__main__":
    main()
