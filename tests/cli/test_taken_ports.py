"""Who has a port is told by `status` where no router runs, and `check` sees what the service sees."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from clasp_edge.cli.service_user import STATE_DIRECTORY, USER
from clasp_edge.cli.taken_ports import taken_ports
from clasp_edge.config.load import load_config

BECOME = """
import os, sys
sys.path.insert(0, {project!r})
from clasp_edge.cli import service_user
from clasp_edge.config.model import Config
service_user.USER = "nobody"
service_user.become_service()
print(os.geteuid(), os.getuid(), Config().data_dir)
"""
PROJECT = str(Path(__file__).resolve().parents[2])


def status(tmp_path: Path, port: int, section: str = "mqtt") -> str:
    config = tmp_path / "edge.toml"
    # The usual ports may be another router's, or Mosquitto's.
    others = "".join(f'[{other}]\nlisten = "off"\n' for other in {"mqtt", "osc", "quic"} - {section})
    config.write_text(
        f'data_dir = "{tmp_path}/data"\n[{section}]\nlisten = "127.0.0.1:{port}"\n[websocket]\nlisten = "127.0.0.1:0"\n'
        f'[console]\nsocket = "{tmp_path}/control.sock"\n' + others
    )
    done = subprocess.run(
        [sys.executable, "-m", "clasp_edge", "status", "--config", str(config)],
        cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.stderr


def test_the_program_that_has_the_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = status(tmp_path, port)
        assert f"mqtt.listen 127.0.0.1:{port}: the port is taken by " in said
        assert f"(process {os.getpid()})" in said
    assert "taken" not in status(tmp_path, port)


@pytest.mark.parametrize("section", ["quic", "osc"])
def test_the_program_that_has_the_port_for_datagrams_is_named(tmp_path: Path, section: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        said = status(tmp_path, port, section)
        assert f"{section}.listen 127.0.0.1:{port}: the port is taken by " in said
    assert "taken" not in status(tmp_path, port, section)


def test_a_proc_that_tells_nothing(tmp_path: Path) -> None:
    config = load_config(None)
    assert taken_ports(config, tmp_path) == []
    (tmp_path / "net").mkdir()
    line = "  0: 00000000:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n"
    (tmp_path / "net/tcp").write_text("head\n" + line + "rubbish\n" + line[:30])
    (sentence,) = taken_ports(config, tmp_path)
    assert "taken by another program" in sentence


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_looks_as_the_service(tmp_path: Path) -> None:
    script = BECOME.format(project=PROJECT)
    environment = {name: value for name, value in os.environ.items() if name != "STATE_DIRECTORY"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    user = str(pwd.getpwnam("nobody").pw_uid)
    assert done.stdout.split() == [user, user, STATE_DIRECTORY], "not the state of whoever was root"


def test_the_user_is_the_one_of_the_unit() -> None:
    unit = (Path(PROJECT) / "systemd/clasp-edge.service").read_text()
    assert f"User={USER}\n" in unit
    assert f"StateDirectory={Path(STATE_DIRECTORY).name}\n" in unit
