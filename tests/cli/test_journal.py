"""`clasp-edge journal`: each action against a journal that a real router has written, some while it still does."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.client import TcpClient, WsClient
from support.daemon import PROJECT_ROOT, Daemon
from support.live import eventually, get, put

from clasp_edge import wire
from clasp_edge.cli import journal
from clasp_edge.cli.main import main
from clasp_edge.wire import SignalType


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(tcp=True, sets={"journal.mode": "strict"}) as daemon:
        with WsClient(daemon.ws_url).hello() as client:
            client.sync()
            for number in range(20):
                put(client, f"/lights/{number % 4}", number)
            client.send(wire.Publish(address="/cue/\x1b]0;go\x07", signal=SignalType.EVENT, value=b"\x01\xff"))
            put(client, "/sound/level", float("inf"))
        yield daemon


def run(data_dir: Path, *arguments: str, status: int = 0, stdin: str = "") -> str:
    """The command's standard output (on success) or error."""
    action, *rest = arguments
    done = subprocess.run(
        [sys.executable, "-m", "clasp_edge", "journal", action, "--set", f"data_dir={data_dir}", *rest],
        capture_output=True, text=True, timeout=30, cwd=PROJECT_ROOT, check=False, input=stdin,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def test_stat(daemon: Daemon) -> None:
    found = json.loads(run(daemon.data_dir, "stat", "--json"))
    assert (found["params"], found["log_first"], found["log_last"], found["starts"]) == (5, 1, 22, 1)
    assert "22 records" in run(daemon.data_dir, "stat")


def test_dump_and_tail(daemon: Daemon) -> None:
    found = [json.loads(line) for line in run(daemon.data_dir, "dump", "--json").splitlines()]
    assert [item["record"] for item in found] == list(range(1, 23))
    assert [item["value"] for item in found[:20]] == list(range(20))
    assert found[20]["signal"] == "event"
    assert found[20]["value"] == {"$bytes": "01ff"}
    assert found[21]["value"] == {"$float": "inf"}
    lines = run(daemon.data_dir, "tail", "-n", "2", "/lights/1").splitlines()
    assert [line.split(" = ")[1].split()[0] for line in lines] == ["13", "17"]
    [line] = run(daemon.data_dir, "dump", "/cue/*").splitlines()
    assert r"/cue/\x1b]0;go\x07 = " in line  # nothing of what others wrote moves the cursor
    assert len(run(daemon.data_dir, "dump", "--first", "5", "--limit", "3", "/lights/**").splitlines()) == 3


def test_verify_while_the_router_writes(daemon: Daemon) -> None:
    assert run(daemon.data_dir, "verify").startswith("ok")


def test_what_is_in_use_is_not_written(daemon: Daemon) -> None:
    assert f"process {daemon.pid}" in run(daemon.data_dir, "compact", status=2)
    assert f"process {daemon.pid}" in run(daemon.data_dir, "import", status=2)


def test_export_and_import_give_the_same_params(daemon: Daemon, tmp_path: Path) -> None:
    exported = run(daemon.data_dir, "export")
    assert len(exported.splitlines()) == 5
    with Daemon(sets={"journal.mode": "group"}) as other:
        other.stop()
        assert run(other.data_dir, "import", stdin=exported) == "5 params\n"
        assert run(other.data_dir, "export") == exported
        assert "MB now" in run(other.data_dir, "compact")
        other.start()
        with WsClient(daemon.ws_url).hello() as one, WsClient(other.ws_url).hello() as two:
            one.sync()
            two.sync()
            assert get(one, "/lights/3") == get(two, "/lights/3")
    assert "line 1" in run(tmp_path, "import", stdin="{}\n", status=1)


def test_replay_writes_anew(daemon: Daemon) -> None:
    with Daemon(tcp=True) as other:
        host, port = other.tcp_address
        said = run(daemon.data_dir, "replay", "--to", f"{host}:{port}", "--speed", "0", "/lights/**")
        assert said == "20 messages sent\n"
        with WsClient(other.ws_url).hello() as client:
            client.sync()
            assert eventually(lambda: get(client, "/lights/3")).value == 19  # type: ignore[union-attr]


def test_a_replay_to_the_router_itself_ends(daemon: Daemon) -> None:
    """It adds to the log that is being read."""
    host, port = daemon.tcp_address
    newest = json.loads(run(daemon.data_dir, "stat", "--json"))["log_last"]
    said = run(daemon.data_dir, "replay", "--to", f"{host}:{port}", "--speed", "1000", "--first", str(newest - 1))
    assert said == "2 messages sent\n"


def test_where_a_replay_goes_is_looked_at(daemon: Daemon) -> None:
    assert "no CLASP over TCP" in run(daemon.data_dir, "replay", "--to", daemon.ws_url.removeprefix("ws://"), status=3)
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    refused = run(daemon.data_dir, "replay", "--to", f"127.0.0.1:{port}", status=3)
    assert refused.startswith(f"clasp-edge: 127.0.0.1:{port}: Connection refused")
    for no_address in ("127.0.0.1", "::1:7331", "127.0.0.1:x", ":7331"):
        assert "Traceback" not in run(daemon.data_dir, "replay", "--to", no_address, status=2)
    assert "is a whole number" in run(daemon.data_dir, "tail", "-n", "-1", status=2)


def test_a_replay_to_a_router_that_hangs_ends(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(journal, "TAKES_NOTHING_S", 0.5)
    with (
        Daemon(tcp=True, sets={"journal.mode": "group", "journal.wear_budget_gb_per_day": 0}) as daemon,
        Daemon(tcp=True) as other,
        TcpClient(daemon.tcp_address) as client,
    ):
        client.hello()
        for _ in range(20):  # more than sockets hold
            for _ in range(10):
                client.send(wire.Publish("/cue", SignalType.EVENT, value="x" * 60_000))
            client.sync()
            time.sleep(0.05)  # a commit of the journal
        eventually(lambda: json.loads(run(daemon.data_dir, "stat", "--json"))["log_last"] >= 200)
        host, port = other.tcp_address
        greet, pid = journal._greet, other.pid

        def greeted(link: socket.socket, token: str) -> bytearray:
            found = greet(link, token)
            os.kill(pid, signal.SIGSTOP)  # in a child, which the router is none of
            return found

        monkeypatch.setattr(journal, "_greet", greeted)
        words = ["journal", "replay", "--set", f"data_dir={daemon.data_dir}", "--to", f"{host}:{port}", "--speed", "0"]
        try:
            assert main(words) == 3
        finally:
            other.signal(signal.SIGCONT)
        assert f"{host}:{port}: nothing is taken any more, after " in capfd.readouterr().err


def test_an_export_that_an_editor_of_windows_has_saved_is_imported(daemon: Daemon, tmp_path: Path) -> None:
    exported = run(daemon.data_dir, "export")
    for number, encoding in enumerate(("utf-8-sig", "utf-16")):
        (file := tmp_path / encoding).write_bytes(exported.replace("\n", "\r\n").encode(encoding))
        said = run(tmp_path / str(number), "import", str(file))
        assert said == f"{exported.count(chr(10))} params\n"
    (broken := tmp_path / "broken").write_bytes(b"\xff\x00\xe4")
    assert run(tmp_path / "none", "import", str(broken), status=1) == (
        f"clasp-edge: {broken}: is not UTF-8 text (byte 0)\n"
    )


def test_no_journal_is_one_line(tmp_path: Path) -> None:
    assert run(tmp_path, "stat", status=2).count("\n") == 1
