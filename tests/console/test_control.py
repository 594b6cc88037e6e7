"""The control socket: what it takes, what it refuses, and whose file it is."""

from __future__ import annotations

import fcntl
import json
import os
import random
import socket
import stat
from pathlib import Path

import pytest
from support.console import ask, connect, read_all, said
from support.daemon import Daemon, DaemonFailed

from clasp_edge.console.control import MAX_CONNECTIONS, MAX_REQUEST_BYTES, Unavailable, bind_alone

NOISE = random.Random(7)

GARBAGE = {
    "nothing": b"\n",
    "words": b"resync please\n",
    "binary": NOISE.randbytes(200).replace(b"\n", b"\0") + b"\n",
    "not UTF-8": b'{"request": "\xff\xfe"}\n',
    "half an object": b'{"request": "resync"\n',
    "a list": b'["resync"]\n',
    "a number": b"7\n",
    "no name": b'{"target": "desk"}\n',
    "a name that is none": b'{"request": 7}\n',
    "deep": b"[" * 2000 + b"]" * 2000 + b"\n",
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a WebSocket frame": b"\x82\x84\0\0\0\0\x53\0\0\0\n",
}


def is_refused(answer: bytes, code: str) -> bool:
    found = json.loads(answer)
    return found["ok"] is False and found["error"]["code"] == code and bool(found["error"]["message"])


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_request_is_answered_so(daemon: Daemon, data: bytes) -> None:
    assert is_refused(said(daemon.control_path, data), "bad-request")
    daemon.assert_healthy()


def test_an_unknown_request_names_the_known_ones(daemon: Daemon) -> None:
    error = ask(daemon.control_path, request="reboot")["error"]
    assert error["code"] == "unknown-request"
    assert "resync" in error["known"]
    assert 'no request "reboot"; there are ' in error["message"]


def test_a_line_that_is_too_long(daemon: Daemon) -> None:
    line = json.dumps({"request": "x" * MAX_REQUEST_BYTES}).encode()
    assert is_refused(said(daemon.control_path, line + b"\n"), "bad-request")
    # Also without an end in sight.
    assert is_refused(said(daemon.control_path, b"a" * (MAX_REQUEST_BYTES + 1)), "bad-request")


def test_a_flood_of_bytes_is_not_kept(daemon: Daemon) -> None:
    with connect(daemon.control_path) as connection:
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            connection.sendall(b"a" * 64_000_000)
        read_all(connection)
    daemon.assert_healthy()


def test_a_line_in_pieces_is_a_line(daemon: Daemon) -> None:
    with connect(daemon.control_path) as connection:
        for piece in (b'{"req', b'uest": "re', b'boot"', b"}", b"\n"):
            connection.sendall(piece)
        assert is_refused(read_all(connection), "unknown-request")


def test_the_end_of_what_is_said_ends_the_line_too(daemon: Daemon) -> None:
    assert is_refused(said(daemon.control_path, b'{"request": "reboot"}', then_end=True), "unknown-request")
    assert is_refused(said(daemon.control_path, b'{"request": "reb', then_end=True), "bad-request")
    assert said(daemon.control_path, b"", then_end=True) == b""


def test_what_follows_the_first_line_is_ignored(daemon: Daemon) -> None:
    answer = said(daemon.control_path, b'{"request": "reboot"}\n' * 20)
    assert answer.count(b"\n") == 1


def test_a_hundred_silent_connections_keep_nobody_out(daemon: Daemon) -> None:
    silent = []
    for number in range(100):
        silent.append(connect(daemon.control_path))
        if number % 2:
            silent[-1].sendall(b'{"request"')
    assert ask(daemon.control_path, request="reboot")["error"]["code"] == "unknown-request"
    # Those that had to make room have been closed, the newest have not.
    assert read_all(silent[0]) == b""
    silent[-1].sendall(b': "reboot"}\n')
    assert is_refused(read_all(silent[-1]), "unknown-request")
    descriptors = len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))
    assert descriptors < 30 + MAX_CONNECTIONS
    for connection in silent:
        connection.close()
    daemon.assert_healthy()


def test_only_owner_and_group_may_use_the_file(daemon: Daemon) -> None:
    mode = daemon.control_path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660
    assert f"control     {daemon.control_path}\n" in daemon.stdout


def test_the_file_goes_with_the_daemon_and_one_left_behind_is_replaced() -> None:
    with Daemon() as daemon:
        daemon.kill()
        assert daemon.control_path.exists()
        daemon.start()
        assert ask(daemon.control_path, request="reboot")["error"]["code"] == "unknown-request"
        daemon.stop()
        assert not daemon.control_path.exists()
        daemon.start()


def test_a_running_daemon_keeps_its_socket(daemon: Daemon) -> None:
    with Daemon(sets={"data_dir": daemon.data_dir}) as other:
        # Without a journal nothing else forbids two daemons in one directory.
        assert f"the control socket {daemon.control_path} is in use by another process" in other.stderr
        assert "control     " not in other.stdout
    assert ask(daemon.control_path, request="reboot")["error"]["code"] == "unknown-request"


def test_a_path_of_its_own_must_be_had(tmp_path: Path) -> None:
    path = tmp_path / "mine" / "ctl"
    with Daemon(sets={"console.socket": path}) as daemon:
        assert ask(path, request="reboot")["error"]["code"] == "unknown-request"
        assert not daemon.control_path.exists()
        second = Daemon(sets={"console.socket": path})
        with pytest.raises(DaemonFailed, match="is in use by another process"):
            second.start()
        second.close()


def test_it_can_be_switched_off() -> None:
    with Daemon(sets={"console.socket": "off"}) as daemon:
        assert not daemon.control_path.exists()


def test_another_kind_of_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("precious")
    with pytest.raises(Unavailable, match="there is a file of that name"):
        bind_alone(path)
    assert path.read_text() == "precious"


def test_faults_name_the_path_and_the_reason(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 120)
    with pytest.raises(Unavailable, match="longer than 107 bytes"):
        bind_alone(long)
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"control\.sock cannot be made: .+"):
        bind_alone(tmp_path / "file" / "control.sock")


def test_a_full_backlog_is_no_sign_of_death(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as busy:
        busy.bind(str(path))
        busy.listen(0)
        waiting = []
        for _ in range(5):
            waiting.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(str(path))
        with pytest.raises(Unavailable, match="in use"):
            bind_alone(path)
        for one in waiting:
            one.close()


def test_a_start_that_another_one_is_in_the_middle_of(tmp_path: Path) -> None:
    lock = os.open(tmp_path / "control.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(Unavailable, match="being set up by another process"):
        bind_alone(tmp_path / "control.sock")
    os.close(lock)
    bind_alone(tmp_path / "control.sock").close()


def test_who_may_only_read_the_directory_cannot_keep_the_router_from_starting() -> None:
    daemon = Daemon(sets={"journal.mode": "volatile"})
    daemon.data_dir.mkdir(mode=0o755)
    directory = os.open(daemon.data_dir, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    with daemon:
        assert ask(daemon.control_path, request="status")["ok"]
        locks = [path for path in daemon.data_dir.iterdir() if path.suffix == ".lock"]
        assert locks
        assert [path.name for path in locks if path.stat().st_mode & 0o077] == []
    os.close(directory)
