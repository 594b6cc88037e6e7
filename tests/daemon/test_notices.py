"""What a board has to say about itself is a param, read again at SIGHUP."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.client import WsClient
from support.daemon import Daemon
from support.live import eventually, get

from clasp_edge.daemon.notices import ADDRESS, MAX_BYTES, VARIABLE


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "problems"
    monkeypatch.setenv(VARIABLE, str(path))
    return path


def problems(daemon: Daemon) -> object:
    with WsClient(daemon.ws_url).hello() as client:
        param = get(client, ADDRESS)
        return None if param is None else list(param.value) if isinstance(param.value, (list, tuple)) else param.value


def test_sentences_become_a_param_and_go_again(file: Path) -> None:
    file.write_text("The card is small.\nhostname.txt: no.\n")
    with Daemon(config="") as daemon:
        assert problems(daemon) == ["The card is small.", "hostname.txt: no."]
        file.unlink()
        daemon.hangup()
        assert eventually(lambda: problems(daemon) == [])


def test_a_file_without_end_is_cut(file: Path) -> None:
    file.write_bytes(b"\xff" * MAX_BYTES * 4)
    with Daemon() as daemon:
        (sentence,) = problems(daemon) or [""]  # type: ignore[misc]
        assert len(sentence) == MAX_BYTES


def test_a_machine_that_says_nothing_has_no_such_param(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with Daemon() as daemon:
        assert problems(daemon) is None
