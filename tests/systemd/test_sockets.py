"""Listening sockets that outlive the daemon: kept by the manager over a restart, or handed over by socket units."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.callers import Callers
from support.client import WsClient
from support.daemon import PROJECT_ROOT, Daemon, DaemonFailed
from support.live import eventually, put
from support.needs import program
from support.service_manager import ServiceManager

RESTARTS = 3


def listening(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A socket as a socket unit makes it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen(1024)
    return sock


def refuses(address: tuple[str, int]) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as sock:
        sock.settimeout(5)
        return sock.connect_ex(address) == errno.ECONNREFUSED


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_no_connection_is_refused_while_it_restarts(tmp_path: Path, end: str) -> None:
    with ServiceManager(tmp_path) as manager, Daemon(mqtt=True, tcp=True, manager=manager) as daemon:
        manager.wait_for("READY")
        assert len(manager.stored) == 3
        callers = Callers(daemon.ws_address, daemon.mqtt_address, daemon.tcp_address)
        for _ in range(RESTARTS):
            getattr(daemon, end)()
            # Who connects now is served by the next one.
            with socket.create_connection(daemon.tcp_address, timeout=5):
                daemon.start()
        callers.stop()
        assert callers.connected > 50
        assert callers.refused == 0
        assert len(manager.stored) == 3
        with WsClient(daemon.ws_url).hello() as client:
            put(client, "/a", 1)


def test_who_connected_while_it_was_away_is_served(tmp_path: Path) -> None:
    with ServiceManager(tmp_path) as manager, Daemon(manager=manager) as daemon:
        manager.wait_for("READY")
        daemon.stop()
        with socket.create_connection(daemon.ws_address, timeout=5) as early:
            early.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
            daemon.start()
            early.settimeout(5)
            assert early.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_a_changed_address_wins_over_what_was_kept(tmp_path: Path) -> None:
    with ServiceManager(tmp_path) as manager, Daemon(manager=manager) as daemon:
        manager.wait_for("READY")
        port = daemon.ws_address[1]
        daemon.stop()
        # The same port on every interface: the kept socket has to go first.
        daemon._listens = {"ws": f"0.0.0.0:{port}"}
        daemon.start()
        assert daemon.ws_address == ("0.0.0.0", port)
        assert len(manager.stored) == 1
        daemon.stop()
        # Another port: the kept socket has no place any more.
        with listening() as free:
            other = free.getsockname()[1]
        daemon._listens = {"ws": f"127.0.0.1:{other}"}
        daemon.start()
        assert daemon.ws_address == ("127.0.0.1", other)
        assert eventually(lambda: refuses(("127.0.0.1", port)))
        assert len(manager.stored) == 1


@pytest.mark.parametrize("fault", ["configuration", "certificate", "port"])
def test_a_router_that_cannot_start_holds_no_port(tmp_path: Path, fault: str) -> None:
    with ServiceManager(tmp_path) as manager, Daemon(manager=manager) as daemon, listening() as taken:
        manager.wait_for("READY")
        address, well = daemon.ws_address, dict(daemon.sets)
        daemon.stop()
        if fault == "configuration":
            daemon.sets["limits.max_sessions"] = -1
        elif fault == "certificate":
            daemon.sets |= {"websocket.tls_listen": "127.0.0.1:0", "tls.certificate": "/nowhere.pem"}
        else:
            daemon.sets["mqtt.listen"] = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(DaemonFailed):
            daemon.start()
        assert eventually(lambda: not manager.stored)
        assert eventually(lambda: refuses(address))
        daemon.sets = well
        daemon.start()
        assert daemon.ws_address == address


def test_sockets_of_units_are_used_without_a_notification_socket(tmp_path: Path) -> None:
    with listening() as ws, listening() as mqtt:
        sockets = {"ws": ws, "mqtt": mqtt}
        sets: dict[str, object] = {
            f"{name}.listen": f"127.0.0.1:{sock.getsockname()[1]}" for name, sock in (("websocket", ws), ("mqtt", mqtt))
        }
        with ServiceManager(tmp_path, sockets=sockets, notify=False) as manager:
            with Daemon(sets=sets, manager=manager) as daemon:
                assert (daemon.ws_address, daemon.mqtt_address) == (ws.getsockname(), mqtt.getsockname())
                callers = Callers(daemon.ws_address, daemon.mqtt_address)
                for _ in range(RESTARTS):
                    daemon.stop()
                    daemon.start()
                callers.stop()
                assert callers.connected > 50
                assert callers.refused == 0
            assert manager.messages == []


def test_the_environment_of_socket_activation_is_for_the_daemon_alone(tmp_path: Path) -> None:
    with listening() as ws, ServiceManager(tmp_path, sockets={"ws": ws}) as manager:
        listen = f"127.0.0.1:{ws.getsockname()[1]}"
        with Daemon(sets={"websocket.listen": listen}, manager=manager) as daemon:
            descriptor = Path(f"/proc/{daemon.pid}/fdinfo/3").read_text()
            flags = next(int(line.split()[1], 8) for line in descriptor.splitlines() if line.startswith("flags"))
            assert flags & os.O_CLOEXEC
            manager.wait_for("READY")
            # It is the unit's already.
            assert manager.stored == {}


def test_a_unit_that_listens_elsewhere_is_pointed_out(tmp_path: Path) -> None:
    with listening() as other:
        port = other.getsockname()[1]
        sockets = {"clasp-edge-ws.socket": other}
        with ServiceManager(tmp_path, sockets=sockets) as manager, Daemon(manager=manager) as daemon:
            assert f"listens on 127.0.0.1:{port} for us (clasp-edge-ws.socket)" in daemon.stderr
            assert daemon.ws_address[1] != port


def test_a_unit_that_has_the_port_but_another_address_is_named_in_the_refusal(tmp_path: Path) -> None:
    with listening("0.0.0.0") as wide, ServiceManager(tmp_path, sockets={"clasp-edge-ws.socket": wide}) as manager:
        port = wide.getsockname()[1]
        command = [sys.executable, "-m", "clasp_edge", "run", "--set", f"websocket.listen=127.0.0.1:{port}"]
        command += [word for key in ("mqtt.listen", "osc.listen", "journal.mode") for word in ("--set", f"{key}=off")]
        done = subprocess.run(
            manager.command(command),
            env=os.environ | {"PYTHONPATH": str(PROJECT_ROOT)} | manager.environment(),
            pass_fds=manager.descriptors(),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 2
        assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
        assert f"systemd listens on 0.0.0.0:{port} for us (clasp-edge-ws.socket)" in done.stderr
        assert manager.count("READY") == 0


def test_what_cannot_be_listened_on_is_put_aside(tmp_path: Path) -> None:
    near, far = socket.socketpair()
    with near, far, socket.socket() as mute, (tmp_path / "file").open("w") as file:
        mute.bind(("127.0.0.1", 0))
        sockets: dict[str, socket.socket] = {"pair": near, "mute": mute, "file": file}  # type: ignore[dict-item]
        with ServiceManager(tmp_path, sockets=sockets) as manager, Daemon(manager=manager) as daemon:
            for name in ("pair", "mute", "file"):
                assert name in daemon.stderr
            with WsClient(daemon.ws_url).hello() as client:
                put(client, "/a", 1)


def test_variables_meant_for_another_process_are_not_ours() -> None:
    with listening() as sock:

        class Stranger:
            """A parent that was activated itself and has left its variables in the environment."""

            def command(self, command: list[str]) -> list[str]:
                return command

            def environment(self) -> dict[str, str]:
                return {"LISTEN_PID": "1", "LISTEN_FDS": "1"}

            def descriptors(self) -> tuple[int, ...]:
                return (sock.fileno(),)

        with Daemon(manager=Stranger()) as daemon, WsClient(daemon.ws_url).hello() as client:
            put(client, "/a", 1)


def test_systemds_own_tool_for_socket_activation(tmp_path: Path) -> None:
    with listening() as free, listening() as free_too:
        ws, mqtt = (sock.getsockname()[1] for sock in (free, free_too))
    command = [program("systemd-socket-activate", "systemd"), f"--listen=127.0.0.1:{ws}", f"--listen=127.0.0.1:{mqtt}"]
    command += ["--fdname=ws:mqtt", f"--setenv=PYTHONPATH={PROJECT_ROOT}"]
    command += [sys.executable, "-m", "clasp_edge", "run"]
    for setting in (f"websocket.listen=127.0.0.1:{ws}", f"mqtt.listen=127.0.0.1:{mqtt}", "osc.listen=off"):
        command += ["--set", setting]
    command += ["--set", "journal.mode=off"]
    with (tmp_path / "out").open("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            eventually(lambda: "Listening on" in (tmp_path / "out").read_text())
            # The first connection starts it, and is served.
            with WsClient(f"ws://127.0.0.1:{ws}").hello() as client:
                put(client, "/a", 1)
            socket.create_connection(("127.0.0.1", mqtt), timeout=5).close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0, (tmp_path / "out").read_text()
        finally:
            process.kill()
            process.wait()
