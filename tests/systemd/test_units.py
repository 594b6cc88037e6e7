"""The unit files and the packaged configuration, judged by systemd's own tools and by our loader."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.daemon import PROJECT_ROOT
from support.needs import program as installed

from clasp_edge.config.load import load_config
from clasp_edge.config.model import Config, leaves

UNITS = PROJECT_ROOT / "systemd"
PROGRAM = "/usr/bin/clasp-edge"

MOST_EXPOSED = 15
"""In tenths: 1.5, on systemd's scale from 0 to 10."""

SINCE_254 = ("RestartSteps", "RestartMaxDelaySec")
"""Older releases say that they do not know them."""


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    command = [installed("systemd-analyze", "systemd"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_systemd_finds_nothing_wrong_in_the_units(tmp_path: Path) -> None:
    program = tmp_path / "clasp-edge"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in (*UNITS.glob("*.service"), *UNITS.glob("*.socket")):
        (tmp_path / unit.name).write_text(unit.read_text().replace(PROGRAM, str(program)))
    units = sorted(str(path) for path in tmp_path.iterdir() if path.suffix in (".service", ".socket"))
    assert len(units) == 3
    said = analyze("verify", "--man=no", *units).stderr.splitlines()
    # Units that the machine itself has may have faults of their own.
    ours = [line for line in said if "clasp-edge" in line]
    assert [line for line in ours if not any(f"'{key}'" in line for key in SINCE_254)] == []


def test_a_fault_in_a_unit_would_be_seen(tmp_path: Path) -> None:
    unit = tmp_path / "clasp-edge.service"
    unit.write_text((UNITS / "clasp-edge.service").read_text().replace("WatchdogSec=15s", "WatchdogSec=often"))
    assert "often" in analyze("verify", "--man=no", str(unit)).stderr


def test_the_sandbox_is_tight() -> None:
    done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(UNITS / "clasp-edge.service"))
    assert done.returncode == 0, done.stdout


def test_the_packaged_configuration_is_the_default_but_for_what_must_last() -> None:
    packaged, default = leaves(load_config(UNITS / "clasp-edge.toml")), leaves(Config())
    assert {key: value for key, value in packaged.items() if value != default[key]} == {"state.param_ttl_s": 0.0}


def test_what_the_packaged_configuration_suggests_is_valid(tmp_path: Path) -> None:
    lines = (UNITS / "clasp-edge.toml").read_text().splitlines()
    suggested = [line[1:] if line.startswith("#") and line[1:2] not in (" ", "") else line for line in lines]
    path = tmp_path / "clasp-edge.toml"
    path.write_text("\n".join(suggested))
    config = load_config(path)
    assert config.name == "stage left"
    assert config.security.mode == "authenticated"
    assert config.websocket == Config().websocket


def test_the_ports_of_the_socket_units_are_those_of_the_configuration() -> None:
    default = Config()
    for name, listen in (("ws", default.websocket.listen), ("mqtt", default.mqtt.listen)):
        lines = (UNITS / f"clasp-edge-{name}.socket").read_text().splitlines()
        assert f"ListenStream={listen}" in lines
