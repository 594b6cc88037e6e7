"""Patterns and scopes that only the matcher can judge are refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from clasp_edge.config import ConfigError
from clasp_edge.daemon.verify import load_verified

STRATEGY = '[[state.strategy]]\npattern = "{}"\nstrategy = "max"\n'
TOKEN = '[security]\nmode = "authenticated"\n[[security.token]]\ntoken = "t"\nscopes = ["read:/a", "{}"]\n'


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


def test_what_the_command_line_gave_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_text(STRATEGY.format("/a/[x*"))
    with pytest.raises(ConfigError) as caught:
        load_verified(path, ['osc.scopes=["read:/x{*"]', "limits.max_sessions=5"])
    places = [(problem.where, problem.key) for problem in caught.value.problems]
    assert places == [(str(path), "state.strategy[0].pattern"), ("--set", "osc.scopes[0]")]


@pytest.mark.parametrize("scope", ["write!:/a/**", "w!:/a", "W!:/a", " write! : /a "])
def test_a_scope_that_writes_and_does_not_read_can_be_configured(tmp_path: Path, scope: str) -> None:
    path = tmp_path / "router.toml"
    path.write_text(TOKEN.format(scope))
    assert load_verified(path).security.token[0].scopes == ("read:/a", scope)
