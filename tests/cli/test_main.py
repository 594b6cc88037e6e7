"""The command line as a person meets it: a real process, its output and its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from clasp_edge.config.load import default_text
from clasp_edge.version import __version__


def clasp_edge(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clasp_edge", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_version() -> None:
    done = clasp_edge("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"clasp-edge {__version__}\n", "")


def test_config_prints_the_default_file() -> None:
    done = clasp_edge("config")
    assert (done.returncode, done.stdout, done.stderr) == (0, default_text(), "")


def test_check_of_the_printed_default_file(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text(clasp_edge("config").stdout, encoding="utf-8")
    done = clasp_edge("check", "--config", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


def test_check_prints_each_problem_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text("nmae = 'a'\n[limits]\nmax_sessions = -1\n", encoding="utf-8")
    done = clasp_edge("check", "--config", path, "--set", "log.level=loud", "--set", "tcp.listen=:7331")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f'{path}:1: nmae: unknown key; the closest valid key is "name"',
        f"{path}:3: limits.max_sessions: must be a whole number from 0 to 1000000, not -1",
        '--set: log.level: must be "debug", "info", "warning" or "error", not "loud"',
    ]
    assert done.stderr == ""


def test_a_configuration_may_be_named_without_an_option(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text("[log]\nlevel = 3\n", encoding="utf-8")
    for arguments in (("check", path), ("check", "-c", path), ("check", path, "-c", path)):
        assert clasp_edge(*arguments).stdout.startswith(f"{path}:2: log.level")
    assert clasp_edge("run", path).returncode == 2
    assert clasp_edge("check", path, "-c", tmp_path / "other.toml").returncode == 2


def test_check_names_what_rules_of_the_reference_mean_here(tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    trigger = {"OnThreshold": {"address": "/t", "above": 1}}
    rules.write_text(
        json.dumps([{"id": "x", "trigger": trigger, "actions": [{"Set": {"address": "/a", "value": 1}}]}]),
        encoding="utf-8",
    )
    path = tmp_path / "edge.toml"
    path.write_text(f'[rules]\nfiles = ["{rules}"]\n', encoding="utf-8")
    done = clasp_edge("check", path)
    assert done.returncode == 0
    assert f'note: {rules}: rule "x": fires when the value crosses the threshold' in done.stdout


def test_check_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = clasp_edge("check", "--config", tmp_path / "none.toml")
    assert (done.returncode, done.stdout) == (1, f"{tmp_path}/none.toml: cannot be read: No such file or directory\n")


def test_run_refuses_a_wrong_configuration(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text("[websocket]\nlisten = 'everywhere'\n[log]\nlevel = 3\n", encoding="utf-8")
    done = clasp_edge("run", "--config", path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f'clasp-edge: {path}:2: websocket.listen: must be "host:port", "[IPv6]:port", ":port" or "off", '
        'not "everywhere"',
        f'clasp-edge: {path}:4: log.level: must be "debug", "info", "warning" or "error", not 3',
    ]


@pytest.mark.parametrize("arguments", [(), ("fly",), ("check", "--set"), ("run", "--colour")])
def test_wrong_arguments_show_the_usage(arguments: tuple[str, ...]) -> None:
    done = clasp_edge(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: clasp-edge ")


def test_help_names_every_command() -> None:
    done = clasp_edge("--help")
    assert done.returncode == 0
    assert all(f"    {command} " in done.stdout for command in ("run", "check", "config"))


@pytest.mark.parametrize("arguments", [["--version"], ["config"], ["check"], ["run", "--set", "name="]])
def test_no_event_loop_is_imported_for_what_needs_none(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom clasp_edge.cli.main import main\n"
        f"try: main({arguments!r})\nexcept SystemExit: pass\n"
        "print('imported:', *sorted({'asyncio', 'uvloop', 'picows', 'clasp_edge.router'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported:"
