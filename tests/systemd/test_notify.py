"""What a service manager is told, read from a real notification socket: ready, reloading, stopping, status, life."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from support.client import WsClient
from support.daemon import PROJECT_ROOT, Daemon
from support.live import Crowd, eventually, get, put, subscribe
from support.service_manager import ServiceManager

from clasp_edge import wire

WATCHDOG_S = 1.2
"""Signs of life come four times in it."""


def test_ready_comes_when_every_port_answers_and_the_params_are_back(tmp_path: Path) -> None:
    sets: dict[str, object] = {"journal.mode": "group"}
    with ServiceManager(tmp_path) as manager:
        daemon = Daemon(mqtt=True, osc=True, tcp=True, sets=sets, manager=manager)
        with daemon:
            ready = manager.wait_for("READY", "1")
            assert ready["STATUS"] == "0 sessions"
            for address in (daemon.ws_address, daemon.mqtt_address, daemon.tcp_address):
                socket.create_connection(address, timeout=5).close()
            with WsClient(daemon.ws_url).hello() as client:
                put(client, "/a", 7)
            daemon.stop()
            seen = len(manager.messages)
            daemon.start()
            manager.wait_for("READY", "1", after=seen)
            with WsClient(daemon.ws_url).hello() as client:
                param = get(client, "/a")
                assert param is not None
                assert param.value == 7


def test_nothing_is_said_before_the_ports_are_bound(tmp_path: Path) -> None:
    with ServiceManager(tmp_path) as manager, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "clasp_edge", "run"]
            + [f"--set={key}" for key in ("websocket.listen=127.0.0.1:0", f"mqtt.listen=127.0.0.1:{port}")]
            + [f"--set={key}=off" for key in ("osc.listen", "journal.mode")],
            env={"PYTHONPATH": str(PROJECT_ROOT), **manager.environment()},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 2
        assert f"127.0.0.1:{port}" in done.stderr
        assert manager.count("READY") == 0


def test_a_reload_is_framed_also_when_the_file_is_bad(tmp_path: Path) -> None:
    with ServiceManager(tmp_path) as manager, Daemon(config='name = "one"', manager=manager) as daemon:
        manager.wait_for("READY")
        for text in ('name = "two"', "name = "):
            (daemon.directory / "clasp-edge.toml").write_text(text)
            seen = len(manager.messages)
            before_us = time.monotonic_ns() // 1000
            daemon.hangup()
            manager.wait_for("READY", "1", after=seen)
            reloading, ready = manager.messages[seen : seen + 2]
            assert reloading["RELOADING"] == "1"
            assert before_us <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
            assert ready == {"READY": "1"}
        with WsClient(daemon.ws_url).hello() as client:
            assert client.welcome.name == "two"


def test_stopping_is_said_first(tmp_path: Path) -> None:
    with ServiceManager(tmp_path) as manager, Daemon(manager=manager) as daemon:
        manager.wait_for("READY")
        daemon.signal(signal.SIGTERM)
        assert manager.wait_for("STOPPING", "1")["STATUS"] == "Stopping"
        eventually(lambda: not daemon.running)
        daemon.stop()
        daemon.start()


def test_the_status_counts_sessions_of_both_kinds(tmp_path: Path) -> None:
    with ServiceManager(tmp_path, watchdog_s=WATCHDOG_S) as manager, Daemon(manager=manager) as daemon:
        with WsClient(daemon.ws_url).hello():
            manager.wait_for("STATUS", "1 session")
            with WsClient(daemon.ws_url).hello():
                manager.wait_for("STATUS", "2 sessions")
        manager.wait_for("STATUS", "0 sessions", after=2)


def test_signs_of_life_come_while_it_lives_and_only_then(tmp_path: Path) -> None:
    with ServiceManager(tmp_path, watchdog_s=WATCHDOG_S) as manager, Daemon(manager=manager) as daemon:
        eventually(lambda: manager.count("WATCHDOG") >= 4)
        daemon.signal(signal.SIGSTOP)
        time.sleep(0.2)
        still = manager.count("WATCHDOG")
        time.sleep(WATCHDOG_S + 0.5)
        assert manager.count("WATCHDOG") == still
        daemon.signal(signal.SIGCONT)
        # It notices that it was late, says so, and goes on.
        eventually(lambda: manager.count("WATCHDOG") >= still + 2)
        assert "late, watchdog not notified" in daemon.stderr


def test_without_a_watchdog_no_signs_of_life(tmp_path: Path) -> None:
    with ServiceManager(tmp_path) as manager, Daemon(manager=manager):
        manager.wait_for("READY")
        time.sleep(WATCHDOG_S)
        assert manager.count("WATCHDOG") == 0


def test_a_client_that_asks_for_everything_sees_nothing_of_it(tmp_path: Path) -> None:
    with ServiceManager(tmp_path, watchdog_s=WATCHDOG_S) as manager, Daemon(manager=manager) as daemon:
        crowd = Crowd(daemon)
        everything, curious = crowd.ws(), crowd.ws()
        subscribe(everything, "/**")
        curious.send(wire.Subscribe(id=1, pattern="/clasp-edge/watchdog/probe"))
        assert curious.recv_type(wire.Publish).address == "/clasp-edge/watchdog/probe"
        assert everything.sync() == []
        crowd.leave()


def test_a_manager_that_has_gone_is_no_reason_to_end(tmp_path: Path) -> None:
    with ServiceManager(tmp_path, watchdog_s=WATCHDOG_S) as manager, Daemon(manager=manager) as daemon:
        eventually(lambda: manager.count("WATCHDOG"))
        (tmp_path / "notify").unlink()
        eventually(lambda: "the service manager cannot be told" in daemon.stderr)
        time.sleep(WATCHDOG_S)
        assert daemon.stderr.count("cannot be told") == 1
        with WsClient(daemon.ws_url).hello() as client:
            put(client, "/a", 1)


def test_the_status_has_the_state_of_each_uplink(tmp_path: Path) -> None:
    hub_told, told = tmp_path / "hub", tmp_path / "box"
    hub_told.mkdir()
    told.mkdir()
    with ServiceManager(hub_told, watchdog_s=WATCHDOG_S) as hub_manager, Daemon(manager=hub_manager) as hub:
        config = f'[uplink.foh]\nurl = "{hub.ws_url}"\nowns = ["/stage/**"]\n'
        with ServiceManager(told, watchdog_s=WATCHDOG_S) as manager, Daemon(config=config, manager=manager):
            manager.wait_for("STATUS", "0 sessions; uplinks: foh up")
            # For the hub the box is a client like any other.
            hub_manager.wait_for("STATUS", "1 session")
            hub.kill()
            message = manager.wait_for("STATUS", "0 sessions; uplinks: foh down")
            assert message
        hub.start()
