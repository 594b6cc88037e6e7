"""Patterns and scopes that only the matcher can judge are refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from clasp_edge.config import ConfigError
from clasp_edge.daemon.verify import load_verified

STRATEGY = '[[state.strategy]]\npattern = "{}"\nstrategy = "max"\n'
TOKEN = '[[security.token]]\ntoken = "t"\nscopes = ["read:/a", "{}"]\n'


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        (STRATEGY.format("/a/[x*"), "state.strategy[0].pattern", "'[' is not closed"),
        (TOKEN.format("read:/x{*"), "security.token[0].scopes[1]", "'{' is not closed"),
    ],
)
def test_what_is_no_pattern_is_a_problem_with_its_place(tmp_path: Path, text: str, key: str, reason: str) -> None:
    path = tmp_path / "router.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_verified(path)
    (problem,) = caught.value.problems
    assert (problem.where, problem.key) == (str(path), key)
    assert reason in problem.message


def test_what_can_be_read_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_text(STRATEGY.format("/a/[x]*") + TOKEN.format("read:/x{a,b}*"))
    config = load_verified(path)
    assert config.state.strategy[0].pattern == "/a/[x]*"
    assert config.security.token[0].scopes == ("read:/a", "read:/x{a,b}*")
