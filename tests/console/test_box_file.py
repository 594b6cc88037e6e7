"""The settings of a box for another one, asked for by the page and written by the box's own program."""

from __future__ import annotations

import base64
import io
import sys
import zipfile
from pathlib import Path

import pytest
from support.box_program import PROGRAM, program
from support.console import ask
from support.daemon import Daemon

from clasp_edge.console.box_file import MAX_BYTES, VARIABLE

WIFI = "country = DE\nname = Stage\npassword = the password of the stage\n"


def test_the_page_gets_what_the_boxs_program_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted = tmp_path / "box/data/settings"
    accepted.mkdir(parents=True)
    (accepted / "wifi.txt").write_text(WIFI)
    with program(tmp_path, sys.executable, "-c", PROGRAM, tmp_path / "box") as path:
        monkeypatch.setenv(VARIABLE, str(path))
        with Daemon() as daemon:
            assert ask(daemon.control_path, request="update")["result"]["box"] is True
            found = ask(daemon.control_path, request="box")["result"]
    assert found["name"] == "clasp-edge-box.zip"
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(found["content"]))) as box:
        text = box.read("wifi.txt").decode()
    assert "name = Stage" in text
    assert "the password of the stage" not in text


@pytest.mark.parametrize("command", [("true",), ("echo", "Traceback"), ("head", "-c", str(MAX_BYTES + 1), "/dev/zero")])
def test_a_program_that_fails_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    with program(tmp_path, *command) as path:
        monkeypatch.setenv(VARIABLE, str(path))
        with Daemon() as daemon:
            error = ask(daemon.control_path, request="box")["error"]
    assert "its log says why" in error["message"]


def test_elsewhere_there_is_none() -> None:
    with Daemon() as daemon:
        assert ask(daemon.control_path, request="update")["result"]["box"] is False
        assert "not a box with a card" in ask(daemon.control_path, request="box")["error"]["message"]
