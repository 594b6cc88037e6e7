"""Updates that come by the page: who may send one, how it is handed on, and what is said where it is refused.

The update program of these tests is the board's own, on files in place of partitions, behind a Unix socket as systemd
hands it one.
"""

from __future__ import annotations

import http.client
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import PROJECT_ROOT, Daemon
from support.live import eventually
from support.updates import BEARER, board_program, post, report, send

from clasp_edge.console.upload import INSTALLED, MAX_UPDATE_BYTES, VARIABLE

ADMIN = """
[security]
mode = "authenticated"
[[security.token]]
token = "all"
scopes = ["admin:/**"]
[[security.token]]
token = "part"
scopes = ["write:/**"]
"""


def board(root: Path) -> None:
    """As much of a board as an update is refused by."""
    run = root / "run/clasp-edge-board"
    run.mkdir(parents=True)
    (run / "boot").write_text(f"booted=a\nslot=a\ntrying=\nfailed=\ndisk={root}/card\npartition={root}/card\n")


@pytest.fixture
def boxed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    board(tmp_path)
    with board_program(tmp_path) as path:
        monkeypatch.setenv(VARIABLE, str(path))
        with Daemon(config=ADMIN) as daemon:
            yield daemon


def test_what_is_no_signed_update_is_refused_with_a_sentence(boxed: Daemon) -> None:
    send(boxed, os.urandom(3_000_000))
    said = eventually(lambda: report(boxed)["said"])
    assert "this is not an update for clasp-edge, or the file is damaged" in said
    assert report(boxed)["state"] == "refused"
    eventually(lambda: "update begun" in trail(boxed) and "update refused" in trail(boxed))
    # And another one may begin.
    assert post(boxed, "at=0&size=10", b"0123456789")[1]["ok"]
    eventually(lambda: report(boxed)["state"] == "refused")
    boxed.assert_healthy()


def trail(daemon: Daemon) -> str:
    return "".join(path.read_text() for path in daemon.data_dir.glob("audit*")) + daemon.stderr


def test_who_may_send_one(boxed: Daemon) -> None:
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer part"}):
        assert post(boxed, "at=0&size=10", b"x" * 10, **headers)[0] == 401, headers
    assert post(boxed, "at=0&size=10", b"x" * 10, Origin="https://evil.example")[0] == 403
    assert post(boxed, "at=0&size=10", b"x" * 10, Host="rebind.example")[0] == 403
    assert post(boxed, "at=0&size=10", b"x" * 10, Content_Type="text/plain")[0] == 415
    assert post(boxed, "size=10", b"x")[0] == 400
    assert post(boxed, "at=0&size=-1", b"x")[0] == 400
    assert report(boxed)["state"] == "nothing"


def test_what_is_too_large_or_too_much(boxed: Daemon) -> None:
    status, answer = post(boxed, f"at=0&size={MAX_UPDATE_BYTES + 1}", b"x")
    assert (status, answer["ok"]) == (200, False)
    assert answer["error"]["message"].startswith("an update has at most 512 MiB")
    connection = http.client.HTTPConnection(*boxed.ws_address, timeout=30)
    connection.putrequest("POST", "/update?at=0&size=9999999")
    for name, text in (BEARER | {"Content-Type": "application/octet-stream", "Content-Length": "999999"}).items():
        connection.putheader(name, text)
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
    assert post(boxed, "at=0&size=100", b"x" * 50)[1]["ok"]
    # One at a time; what comes twice is not taken twice.
    assert post(boxed, "at=0&size=100", b"x")[1]["error"]["code"] == "busy"
    assert post(boxed, "at=7&size=100", b"x" * 20)[1]["result"]["taken"] == 50
    assert post(boxed, "at=50&size=100", b"x" * 51)[1]["error"]["code"] == "too-large"


def test_elsewhere_updates_come_by_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nobody.sock"))
    with Daemon(config=ADMIN) as daemon:
        told = report(daemon)
        assert (told["possible"], told["message"].partition(":")[0]) == (False, "updates come by the package here")
        assert post(daemon, "at=0&size=10", b"x" * 10)[1]["error"]["code"] == "no-updates"


def test_nobody_listens_any_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as gone:
        path = Path(short) / "u.sock"
        gone.bind(str(path))
        monkeypatch.setenv(VARIABLE, str(path))
        with Daemon(config=ADMIN) as daemon:
            assert post(daemon, "at=0&size=10", b"x" * 10)[1]["ok"]
            eventually(lambda: "does not answer" in report(daemon)["said"])


@pytest.mark.parametrize(
    ("last", "state", "shown"),
    [
        (b"", "refused", "has ended without a word"),  # killed: it took too much memory, or too long
        (b"KeyError: 'board'\n", "refused", "KeyError"),
        (b"Version 2 is installed, and will be tried when the box is started the next time.\n", "done", "Version 2"),
    ],
)
def test_what_the_program_does_not_call_installed_is_not(
    monkeypatch: pytest.MonkeyPatch, last: bytes, state: str, shown: str
) -> None:
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as listening:
        path = Path(short) / "u.sock"
        listening.bind(str(path))
        listening.listen(1)

        def program() -> None:
            connection, _ = listening.accept()
            with connection:
                while connection.recv(65536):
                    pass
                connection.sendall(last)

        thread = threading.Thread(target=program, daemon=True)
        thread.start()
        monkeypatch.setenv(VARIABLE, str(path))
        with Daemon(config=ADMIN) as daemon:
            send(daemon, b"x" * 300_000)
            eventually(lambda: report(daemon)["state"] == state and shown in report(daemon)["said"], 30)
        thread.join(30)


def test_the_boards_program_says_installed_as_it_is_looked_for() -> None:
    source = (PROJECT_ROOT / "image/board/clasp_board/update.py").read_bytes()
    assert source.count(INSTALLED) == 1
