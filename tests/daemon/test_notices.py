"""What a board has to say about itself is a param, read again at SIGHUP."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.client import WsClient
from support.daemon import Daemon
from support.live import eventually, get, params_of

from clasp_edge import wire
from clasp_edge.daemon.notices import ADDRESS, BOARD, MAX_BYTES, MOST_KEYS, STATE_FILE, VARIABLE


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


def test_what_changes_while_the_router_runs_is_told(file: Path) -> None:
    state = file.with_name(STATE_FILE)
    state.write_text("wifi/state=connected\nwifi/signal_dbm=-61\nnonsense\nUP=1\nproblems=x\n=\na//b=1\n")
    with Daemon(config="") as daemon:
        assert problems(daemon) == []
        assert params(daemon) == {"wifi/state": "connected", "wifi/signal_dbm": -61}
        file.write_text("The clock is not set.\n")
        state.write_text("wifi/state=searching\n")
        assert eventually(lambda: problems(daemon) == ["The clock is not set."])
        assert eventually(lambda: params(daemon) == {"wifi/state": "searching"})


def test_keys_have_a_bound(file: Path) -> None:
    file.with_name(STATE_FILE).write_text("".join(f"key{n}=1\n" for n in range(4 * MOST_KEYS)))
    with Daemon() as daemon:
        assert len(params(daemon)) == MOST_KEYS


def params(daemon: Daemon) -> dict[str, object]:
    with WsClient(daemon.ws_url).hello() as client:
        client.send(wire.Subscribe(id=1, pattern=f"{BOARD}**"))
        found = {param.address.removeprefix(BOARD): param.value for param in params_of(client.sync())}
        return {key: value for key, value in found.items() if key != "problems" and value is not None}
