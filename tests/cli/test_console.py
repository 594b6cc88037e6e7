"""The commands that ask a running daemon, as a person types them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.console import clasp_edge
from support.daemon import Daemon
from support.live import Crowd, put
from support.osc import Device

NOWHERE = ("127.0.0.1", 9)


@pytest.fixture(scope="module")
def desk() -> Iterator[Device]:
    with Device(NOWHERE) as device:
        yield device


@pytest.fixture(scope="module")
def daemon(desk: Device) -> Iterator[Daemon]:
    config = f"""
    [[osc.target]]
    name = "front desk"
    host = "127.0.0.1"
    port = {desk.port}
    patterns = ["/osc/fader/**"]
    """
    with Daemon(osc=True, config=config) as running:
        yield running


def of(daemon: Daemon) -> tuple[str, ...]:
    return "--set", f"data_dir={daemon.data_dir}"


def test_resync_of_a_target(daemon: Daemon, desk: Device) -> None:
    crowd = Crowd(daemon)
    put(crowd.ws(), "/osc/fader/1", 0.5)
    assert desk.hear() == ("/fader/1", [0.5])
    for arguments in (["front desk"], ["--all"]):
        done = clasp_edge("resync", *arguments, *of(daemon))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "front desk: is sent the current values of its 1 pattern\n"
        assert desk.hear() == ("/fader/1", [0.5])
    crowd.leave()


def test_resync_of_a_target_that_is_not_there(daemon: Daemon) -> None:
    done = clasp_edge("resync", "back desk", *of(daemon))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == 'clasp-edge: no OSC target "back desk"; there are "front desk"\n'


@pytest.mark.parametrize("arguments", [[], ["--all", "front desk"]])
def test_resync_needs_one_of_target_and_all(arguments: list[str]) -> None:
    done = clasp_edge("resync", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: clasp-edge resync ")


def test_osc_that_is_off_and_no_targets_at_all() -> None:
    with Daemon() as off, Daemon(osc=True) as without:
        done = clasp_edge("resync", "desk", *of(off))
        assert (done.returncode, done.stderr) == (1, 'clasp-edge: OSC is switched off (osc.listen = "off")\n')
        done = clasp_edge("resync", "--all", *of(without))
        assert (done.returncode, done.stdout) == (0, "there are no OSC targets\n")
        done = clasp_edge("resync", "desk", *of(without))
        assert (done.returncode, done.stderr) == (1, 'clasp-edge: no OSC target "desk"; there are none\n')


def test_the_daemon_is_found_by_where_its_data_is(daemon: Daemon, tmp_path: Path) -> None:
    config = tmp_path / "edge.toml"
    config.write_text(f"data_dir = '{daemon.data_dir}'\n")
    assert clasp_edge("resync", "--all", "--config", config).returncode == 0
    assert clasp_edge("resync", "--all", STATE_DIRECTORY=str(daemon.data_dir)).returncode == 0
    assert clasp_edge("resync", "--all", RUNTIME_DIRECTORY=str(daemon.data_dir)).returncode == 0
    assert clasp_edge("resync", "--all", "--set", f"console.socket={daemon.control_path}").returncode == 0


def test_the_system_s_configuration_says_where_too(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from clasp_edge.cli import main

    monkeypatch.setattr(main, "SYSTEM_CONFIG", tmp_path / "edge.toml")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    assert main.main(["resync", "--all"]) == 3
    (tmp_path / "edge.toml").write_text(f"data_dir = '{daemon.data_dir}'\n")
    assert main.main(["resync", "--all"]) == 0
    assert "front desk" in capsys.readouterr().out
    (tmp_path / "edge.toml").write_text("nonsense\n")
    assert main.main(["resync", "--all"]) == 1


def test_no_daemon_says_where_was_looked(tmp_path: Path) -> None:
    done = clasp_edge("resync", "desk", RUNTIME_DIRECTORY=str(tmp_path))
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines() == [
        "clasp-edge: no running router was found",
        f"  {tmp_path}/control.sock: there is no control socket",
        "  /run/clasp-edge/control.sock: there is no control socket",
    ]
    # Whoever says which daemon is meant does not want another one.
    done = clasp_edge("resync", "desk", "--set", f"data_dir={tmp_path}")
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 2)
    done = clasp_edge("resync", "desk", "--set", "console.socket=off")
    assert done.stderr == 'clasp-edge: the control socket is switched off (console.socket = "off")\n'


def test_a_socket_that_was_left_behind(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(tmp_path / "control.sock"))
    done = clasp_edge("resync", "desk", "--set", f"data_dir={tmp_path}")
    assert done.returncode == 3
    assert "control.sock: left behind by a router that does not run any more" in done.stderr


def test_somebody_else_at_the_socket(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(path))
        other.listen()
        other.settimeout(20)
        import threading

        def serve() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"220 hello\n")

        thread = threading.Thread(target=serve)
        thread.start()
        done = clasp_edge("resync", "desk", "--set", f"data_dir={tmp_path}")
        thread.join()
    assert (done.returncode, done.stderr) == (3, f"clasp-edge: what answers at {path} is no router\n")


def test_no_event_loop_is_imported_to_ask(daemon: Daemon) -> None:
    import subprocess
    import sys

    script = (
        "import sys\nfrom clasp_edge.cli.main import main\n"
        f"main(['resync', '--all', '--set', 'data_dir={daemon.data_dir}'])\n"
        "print('imported:', *sorted({'asyncio', 'uvloop', 'picows', 'clasp_edge.router'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported:"
