"""The command line as a client of the reference router."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.rust_router import RustRouter, why_not


@pytest.fixture(scope="module")
def router() -> Iterator[RustRouter]:
    """A reference router."""
    if reason := why_not():
        pytest.skip(reason)
    with RustRouter() as running:
        yield running


def typed(router: RustRouter, *words: str, told: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CLASP_EDGE_URL": router.url}
    line = [sys.executable, "-m", "clasp_edge", *words]
    return subprocess.run(line, input=told, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_values(router: RustRouter) -> None:
    assert typed(router, "set", "/a/b", "0.5").returncode == 0
    assert typed(router, "set", "/a/c", '{"x": [1, null]}').returncode == 0
    assert typed(router, "get", "/a/b").stdout == "0.5\n"
    assert typed(router, "get", "/a/*").stdout == '/a/b 0.5\n/a/c {"x": [1, null]}\n'
    missing = typed(router, "get", "/a/nothing")
    assert (missing.returncode, missing.stderr) == (1, "clasp-edge: there is no param /a/nothing\n")
    assert typed(router, "emit", "/go", "7").returncode == 0


def test_several_at_once(router: RustRouter, tmp_path: Path) -> None:
    assert typed(router, "bundle", told="set /s/1 1\nset /s/2 2\n").returncode == 0
    file = str(tmp_path / "scene")
    assert typed(router, "backup", file, "/s/**").stdout.startswith("2 params")
    typed(router, "set", "/s/1", "9")
    assert "/s/1: 9 -> 1" in typed(router, "restore", file, "--yes").stdout
    watched = typed(router, "watch", "/s/**", "--json", "--count", "2", "--for", "30").stdout.splitlines()
    assert {json.loads(line)["address"]: json.loads(line)["value"] for line in watched} == {"/s/1": 1, "/s/2": 2}


def test_what_it_does_not_have_is_said(router: RustRouter) -> None:
    replayed = typed(router, "replay", "/a/**")
    assert replayed.returncode == 1
    assert "Journal not configured" in replayed.stderr


def test_bench(router: RustRouter) -> None:
    assert "acknowledged SETs a second" in typed(router, "bench", "--seconds", "0.3").stdout
