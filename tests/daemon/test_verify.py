"""Patterns and scopes that only the matcher can judge are refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.certificates import Authority

from clasp_edge.cli.main import main
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


def test_check_says_that_certificate_and_key_do_not_belong_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("box")
    _, other = authority.issue("other")
    path = tmp_path / "router.toml"
    path.write_text(f'data_dir = "{tmp_path}"\n[tls]\ncertificate = "{certificate}"\nkey = "{other}"\n')
    assert main(["check", str(path)]) != 0
    assert "tls.certificate" in (said := capsys.readouterr().out)
    assert "the key does not belong to the certificate" in said
    path.write_text(f'data_dir = "{tmp_path}"\n[tls]\ncertificate = "{certificate}"\n')
    assert main(["check", str(path)]) != 0
    # As on a board, where the service runs beside its configuration.
    path.write_text(f'data_dir = "{tmp_path}"\n[tls]\ncertificate = "box.pem"\nkey = "box.key"\n')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["check", str(path)]) == 0
    key.unlink()
    assert main(["check", str(path)]) != 0
    assert "no such file" in capsys.readouterr().out
