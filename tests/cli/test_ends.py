"""How commands end that a person stops (Ctrl-C), and of whose output nobody reads the rest (`| head`)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.client import WsClient
from support.daemon import Daemon
from support.live import put

RULE = '[[rule]]\nid = "r"\ntrigger = { type = "set", pattern = "/x" }\ndo = [{ set = "/y" }]\n'


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(config=RULE, mqtt=True) as running, WsClient(running.ws_url) as client:
        client.hello()
        client.sync()
        put(client, "/there", 1)
        put(client, "/mqtt/there", 1)
        yield running


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Programs that a shell has started in the background ignore SIGINT, and so does all that they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def begun(daemon: Daemon, words: str, **streams: int) -> subprocess.Popen[str]:
    named = {
        "SOCKET": f"console.socket={daemon.control_path}", "MQTT": daemon.address_of("mqtt"),
        "RULES": str(daemon.directory / "clasp-edge.toml"),
    }  # fmt: skip
    line = [sys.executable, "-m", "clasp_edge", *(named.get(word, word) for word in words.split())]
    environment = os.environ | {"CLASP_EDGE_URL": daemon.ws_url}
    return subprocess.Popen(line, stdin=subprocess.PIPE, text=True, env=environment, **streams)


LONG = [
    "watch /there", "set /locked 1 --lock", "top --every 0.1 --set SOCKET", "mqtt sub --broker MQTT #",
    "rules test RULES",
]  # fmt: skip


def test_ctrl_c_ends_everything_with_130(daemon: Daemon) -> None:
    running = {words: begun(daemon, words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for words in LONG}
    told = {}
    for words, process in running.items():
        assert process.stdin is not None
        assert process.stdout is not None
        if words.startswith("rules"):
            process.stdin.write("set /x 1\n" * 2000)  # its output goes into a pipe, and not at once
            process.stdin.flush()
        told[words] = process.stdout.readline()
    for process in running.values():
        process.send_signal(signal.SIGINT)
    for words, process in running.items():
        said, _ = process.communicate(timeout=40)
        assert "Traceback" not in told[words] + said, words
        assert process.returncode == 130, (words, told[words], said)


SHOWING = [
    "--help", "completion man", "status --set SOCKET", "get /**", "top --count 1 --every 0.1 --set SOCKET",
    "rules test RULES",
]  # fmt: skip


def test_nobody_who_reads_is_no_fault(daemon: Daemon) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    running = {words: begun(daemon, words, stdout=writes, stderr=subprocess.PIPE) for words in SHOWING}
    os.close(writes)
    for words, process in running.items():
        _, said = process.communicate("set /x 1\n" if words.startswith("rules test") else None, timeout=60)
        assert (process.returncode, said) == (0, ""), words


def test_a_router_runs_whatever_becomes_of_what_it_prints(tmp_path: Path) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    sets = {"websocket.listen": "127.0.0.1:0", "tcp.listen": "off", "mqtt.listen": "off", "osc.listen": "off",
            "journal.mode": "off"}  # fmt: skip
    running = []
    for at, descriptor in (("a", writes), ("b", os.open("/dev/full", os.O_WRONLY))):
        own = sets | {"data_dir": str(tmp_path / at), "console.socket": str(tmp_path / f"{at}.sock")}
        line = [sys.executable, "-m", "clasp_edge", "run", *(f"--set={key}={value}" for key, value in own.items())]
        running.append(subprocess.Popen(line, stdout=descriptor, stderr=subprocess.PIPE, text=True))
        os.close(descriptor)
    for process in running:
        with process:
            assert process.stderr is not None
            told = any("printed at the start" in line for line in process.stderr)
            process.send_signal(signal.SIGINT)
            said = process.stderr.read()
        assert (told, process.returncode) == (True, 0), said
        assert "Traceback" not in said


def test_a_journal_is_not_blamed_for_who_stops_reading(tmp_path: Path) -> None:
    with Daemon(sets={"journal.mode": "group", "data_dir": tmp_path}) as daemon, WsClient(daemon.ws_url) as client:
        client.hello()
        client.sync()
        for number in range(50):
            put(client, f"/long/{number}", "x" * 4000)
    line = f"{sys.executable} -m clasp_edge journal export --set data_dir={tmp_path} | head -c 10"
    found = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60, check=True)
    assert len(found.stdout) == 10
    assert found.stderr == ""
