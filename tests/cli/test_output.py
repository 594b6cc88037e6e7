"""Where what a command prints goes: a full disk, a terminal without UTF-8, a device, a link; and values that JSON has
no words for. And routers that hang."""

from __future__ import annotations

import io
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.client import WsClient
from support.daemon import Daemon
from support.live import put
from websockets.sync.server import ServerConnection, serve

from clasp_edge import wire
from clasp_edge.cli.main import main

FULL = Path("/dev/full")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon() as running, WsClient(running.ws_url) as client:
        client.hello()
        client.sync()
        for address, value in {"/o/nan": float("nan"), "/o/ü": "☃", "/o/bytes": b"\0\xff", "/o/one": 1.0}.items():
            put(client, address, value)
        yield running


@pytest.fixture(autouse=True)
def at(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASP_EDGE_URL", daemon.ws_url)


def begun(words: str, *, stdout: int = subprocess.PIPE, **more: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "clasp_edge", *words.split()]
    return subprocess.Popen(line, stdout=stdout, stderr=subprocess.PIPE, text=True, env=os.environ | more)


def test_a_full_disk_is_a_sentence_and_a_status_of_its_own(daemon: Daemon) -> None:
    assert FULL.is_char_device()
    commands = [
        "config",
        "completion man",
        "get /o/**",
        "backup -",
        f"status --set console.socket={daemon.control_path}",
    ]
    descriptor = os.open(FULL, os.O_WRONLY)
    running = {words: begun(words, stdout=descriptor) for words in commands}
    os.close(descriptor)
    for words, process in running.items():
        said = process.communicate(timeout=60)[1]
        told = "clasp-edge: its output cannot be written: No space left on device\n"
        assert (process.returncode, said) == (4, told), words


def test_a_terminal_without_utf_8_and_json_stays_json() -> None:
    process = begun(
        "get /o/ü --json", LC_ALL="POSIX", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0", PYTHONIOENCODING="ascii"
    )
    told, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")
    assert told.isascii()
    assert {key: json.loads(told)[key] for key in ("address", "value")} == {"address": "/o/ü", "value": "☃"}


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(words)
    return status, *capsys.readouterr()


def test_what_json_has_no_words_for_is_tagged_and_read_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def no(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    lines = printed(capsys, "get", "/o/*", "--json")[1].splitlines()
    values = {row["address"]: row["value"] for row in (json.loads(line, parse_constant=no) for line in lines)}
    assert values["/o/nan"] == {"$float": "nan"}
    assert values["/o/bytes"] == {"$bytes": "00ff"}
    scene = str(tmp_path / "scene")
    assert printed(capsys, "backup", scene, "/o/*")[0] == 0
    assert printed(capsys, "restore", scene, "--dry-run")[1] == "0 of 4 params change\n"
    assert printed(capsys, "set", "/o/bytes", "1")[0] == 0
    assert printed(capsys, "set", "/o/one", "1")[0] == 0  # an integer is another value
    shown = printed(capsys, "restore", scene, "--yes")[1].splitlines()
    assert shown == ['/o/bytes: 1 -> {"$bytes": "00ff"}', "/o/one: 1 -> 1.0", "2 of 4 params change"]
    assert printed(capsys, "get", "/o/bytes")[1] == '{"$bytes": "00ff"}\n'
    # A map that somebody has named so is no fault of the scene.
    maps = '{"$bytes": "zz", "x": [{"$float": "warm"}, {"$bytes": 5}]}', '{"$bytes": "zz"}'
    for text in maps:
        assert printed(capsys, "set", "/o/one", text)[0] == 0
        assert printed(capsys, "get", "/o/one")[1] == f"{text}\n"
        assert printed(capsys, "backup", scene, "/o/*")[0] == 0
        assert printed(capsys, "restore", scene, "--dry-run")[1] == "0 of 4 params change\n"
    assert printed(capsys, "set", "/o/one", "1.0")[0] == 0


@pytest.mark.parametrize("words", ["bundle - --at +inf", "bundle - --at nan", "replay --from inf", "replay --to 1e300"])
def test_what_is_no_time_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("set /o/at 1\n"))
    status, told, said = printed(capsys, *words.split())
    assert (status, told) == (1, "")
    assert said.startswith(f'clasp-edge: "{words.rpartition(" ")[2]}" is no time')


def test_backup_replaces_files_and_neither_links_nor_pipes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    real, link, pipe = tmp_path / "real", tmp_path / "link", tmp_path / "pipe"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to(real)
    os.mkfifo(pipe)
    assert printed(capsys, "backup", str(link), "/o/one")[0] == 0
    assert link.is_symlink()
    assert '"/o/one"' in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600  # nobody reads it who could not before
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    assert printed(capsys, "backup", str(pipe), "/o/one")[0] == 0
    reader.join(40)
    assert pipe.is_fifo()
    assert read == [real.read_text()]
    status, told, _ = printed(capsys, "backup", "-", "/o/one")
    assert (status, told) == (0, real.read_text())
    missing = tmp_path / "no" / "file"
    found = printed(capsys, "backup", str(missing), "/o/one")
    assert found == (1, "", f"clasp-edge: {missing}: No such file or directory\n")
    assert sorted(tmp_path.iterdir()) == [link, pipe, real]


@pytest.mark.parametrize(
    "words",
    [
        "set /a 1 --ttl -5", "set /a 1 --ttl 99999999999", "watch --count 0", "watch --for nan", "bench --seconds -1",
        "bench --window 0", "top --every 0", "osc send fader 1", "mqtt sub --count -1", "replay --limit x",
        "get /\udcff", "set /\udcff 1",
    ],
)  # fmt: skip
def test_what_means_nothing_is_a_wrong_call(capsys: pytest.CaptureFixture[str], words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_files_that_are_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\x7fELF\xd0")
    said = f"clasp-edge: {binary}: is not UTF-8 text (byte 4)\n"
    for words in (["restore", str(binary)], ["bundle", str(binary)], ["get", "/o", "--token-file", str(binary)]):
        assert printed(capsys, *words) == (1, "", said)
    binary.write_text('{"address": 5, "value": 1}\n')
    assert printed(capsys, "restore", str(binary)) == (1, "", f"clasp-edge: {binary}: line 1 is no param\n")
    deep = printed(capsys, "set", "/o/deep", "[" * 5000 + "]" * 5000)
    assert deep == (1, "", "clasp-edge: the value is nested too deeply\n")
    assert printed(capsys, "get", "/o", "--url", "http://127.0.0.1")[0] == 3
    assert printed(capsys, "get", "/o", "--url", "ws://127.0.0.1:99999")[0] == 3


@pytest.fixture
def hanging() -> Iterator[str]:
    """A router that says WELCOME and nothing after that."""

    def welcome(connection: ServerConnection) -> None:
        for _ in connection:
            if not getattr(connection, "welcomed", False):
                connection.welcomed = True  # type: ignore[attr-defined]
                connection.send(wire.encode(wire.Welcome(1, "s", "hangs", ("param",), 0)))

    with serve(welcome, "127.0.0.1", 0, subprotocols=["clasp"]) as server:  # type: ignore[list-item]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        host, port = server.socket.getsockname()
        yield f"ws://{host}:{port}"
        server.shutdown()
        thread.join()


def test_a_router_that_hangs_is_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, hanging: str, tmp_path: Path
) -> None:
    for name in ("TIMEOUT_S", "ALIVE_S"):
        monkeypatch.setattr(f"clasp_edge.cli.remote.{name}", 0.3)
    scene = tmp_path / "scene"
    for words in (["get", "/a/**"], ["backup", str(scene)], ["replay"], ["watch"], ["set", "/a", "1", "--lock"]):
        status, told, said = printed(capsys, *words, "--url", hanging)
        assert (status, told) == (3, ""), words
        assert f"clasp-edge: {hanging}: no answer within" in said
    assert not scene.exists()  # and no half of one


def test_a_snapshot_that_takes_its_time_is_read_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    """A board that is busy sends the pieces of a large state with pauses between: none is taken for the end."""
    pieces = [wire.Snapshot([wire.ParamValue(f"/slow/{n}", n, 1)]) for n in range(3)]

    def slowly(connection: ServerConnection) -> None:
        for data in connection:
            match wire.decode(data)[1]:
                case wire.Hello():
                    connection.send(wire.encode(wire.Welcome(1, "s", "slow", ("param",), 0)))
                case wire.Get(address) if "*" not in address:
                    connection.send(wire.encode(wire.Error(wire.ErrorCode.ADDRESS_NOT_FOUND, "Address not found")))
                case wire.Ping():
                    connection.send(wire.encode(wire.Pong()))
                case wire.Get():
                    for piece in pieces:
                        threading.Event().wait(0.4)  # longer than the reference's silence
                        connection.send(wire.encode(piece))
                    connection.send(wire.encode(wire.Snapshot(())))

    with serve(slowly, "127.0.0.1", 0, subprotocols=["clasp"]) as server:  # type: ignore[list-item]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        host, port = server.socket.getsockname()
        found = printed(capsys, "get", "/slow/*", "--url", f"ws://{host}:{port}")
        server.shutdown()
        thread.join()
    assert found == (0, "/slow/0 0\n/slow/1 1\n/slow/2 2\n", "")


def test_nobody_is_asked_where_input_is_closed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert printed(capsys, "restore", "-")[0] == 1
    # What a router could not be told is said before anything is set.
    large = '{"address": "/o/first", "value": 1}\n{"address": "/o/large", "value": 99999999999999999999}\n'
    monkeypatch.setattr("sys.stdin", io.StringIO(large))
    found = printed(capsys, "restore", "-", "--yes")
    assert found == (1, "", "clasp-edge: -: line 2: an integer value is an i64, not 99999999999999999999\n")
    assert printed(capsys, "get", "/o/first")[0] == 1
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = "ws://{}:{}".format(*nobody.getsockname())
        assert printed(capsys, "get", "/a", "--url", url)[0] == 3
