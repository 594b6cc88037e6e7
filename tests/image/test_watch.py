"""What is said of a box while it runs: clock, card, name and radio, with a radio program that the test plays."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from clasp_board.clock import TRUSTED_S, set_clock
from clasp_board.places import Places
from clasp_board.problems import read_problems
from clasp_board.status import status_text
from clasp_board.supplicant import CONTROL_FAMILY, GET_FAMILY, Supplicant, family_id, message, power_save_off
from clasp_board.watch import CLOCK_PATIENCE_S, MOST_WRITES, Watch
from hypothesis import given
from hypothesis import strategies as st
from support.live import eventually

DAY_S = 24 * 3600
BUILT_S = 1_790_000_000


class Clock:
    """Time that passes only when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Radio:
    """wpa_supplicant's end of its control socket."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.answers = {"STATUS": "wpa_state=SCANNING\n", "SIGNAL_POLL": "FAIL\n", "ATTACH": "OK\n"}
        self.events: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            question, sender = self._socket.recvfrom(4096)
            if question == b"END":
                return
            for event in self.events:
                self._socket.sendto(event.encode(), sender)
            self.events = []
            self._socket.sendto(self.answers[question.decode()].encode(), sender)

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"END", self._socket.getsockname())
        self._thread.join()
        self._socket.close()


@pytest.fixture
def box(board: Places) -> Places:
    (board.root / "etc").mkdir()
    (board.root / "etc/hostname").write_text("stage-left\n")
    (board.root / "run/systemd/timesync").mkdir(parents=True)
    (board.root / "run/systemd/timesync/synchronized").touch()
    return board


@pytest.fixture
def radio(box: Places) -> Iterator[Radio]:
    made = Radio(box.root / "run/wpa_supplicant/wlan0")
    yield made
    made.close()


def watching(box: Places, clock: Clock | None = None, name: str = "stage-left") -> Watch:
    return Watch(box, clock or Clock(), lambda: ["10.0.0.5 (eth0)"], lambda: name, lambda: True, lambda _: False)


def test_a_box_that_is_well_says_what_it_is(box: Places) -> None:
    watching(box).look()
    assert read_problems(box) == []
    text = (box.firmware / "status.txt").read_bytes().decode()
    assert "name       stage-left.local\r\n" in text
    assert "address    10.0.0.5 (eth0)\r\n" in text
    assert "Nothing is wrong." in text


def test_a_clock_that_is_not_set_is_said_until_it_is(box: Places) -> None:
    clock, mark = Clock(), box.root / "run/systemd/timesync/synchronized"
    mark.unlink()
    watch = watching(box, clock)
    watch.look()
    assert read_problems(box) == []
    clock.now = CLOCK_PATIENCE_S
    watch.look()
    assert "The clock has not been set" in read_problems(box)[0]
    assert "The clock has not been set" in (box.firmware / "problems.txt").read_text()
    mark.touch()
    watch.look()
    assert read_problems(box) == []
    assert not (box.firmware / "problems.txt").exists()


def test_a_card_that_is_pulled_out_is_said_and_not_written_to(box: Places, tmp_path: Path) -> None:
    disk = tmp_path / "mmcblk0"
    disk.touch()
    box.boot.write_text(f"disk={disk}\n")
    watch = watching(box)
    watch.look()
    (box.firmware / "status.txt").unlink()
    disk.unlink()
    watch.look()
    assert "pulled out" in read_problems(box)[0]
    assert not (box.firmware / "status.txt").exists()


def test_a_name_that_somebody_else_has_is_said(box: Places) -> None:
    watching(box, name="stage-left2").look()
    (problem,) = read_problems(box)
    assert "Another machine here is called stage-left.local" in problem
    assert "stage-left2.local" in problem


# A short name: the path of a socket in its directory has at most 107 bytes.
def test_wrong_password(box: Places, radio: Radio) -> None:
    watch = watching(box)
    watch.look()
    assert (box.run / "state").read_text() == "wifi/state=searching\n"
    refused = [
        "<3>CTRL-EVENT-SCAN-STARTED ",
        '<3>CTRL-EVENT-SSID-TEMP-DISABLED id=0 ssid="Stage" auth_failures=1 duration=10 reason=WRONG_KEY',
    ]

    def named() -> list[str]:
        radio.events = refused  # as the program says again and again; what a busy machine is late with is lost
        watch.look()
        return read_problems(box)

    assert eventually(named) == ['wifi.txt: the network "Stage" refuses the password.']
    radio.events = []
    radio.answers |= {"STATUS": "ssid=Stage\nwpa_state=COMPLETED\n", "SIGNAL_POLL": "RSSI=-61\nLINKSPEED=65\n"}

    def connected() -> bool:
        watch.look()
        return (box.run / "state").read_text() == "wifi/state=connected\nwifi/network=Stage\nwifi/signal_dbm=-61\n"

    assert eventually(connected)
    assert read_problems(box) == []
    watch.close()


def test_a_radio_that_ends_and_comes_back(box: Places, tmp_path: Path) -> None:
    path = tmp_path / "wlan0"
    supplicant = Supplicant(path, box.run / "own.sock")
    assert supplicant.look().state == ""
    for _time in range(2):
        first = Radio(path)
        assert supplicant.look().state == "searching"
        first.close()
        path.unlink()
        assert supplicant.look().state == ""


def test_a_network_that_comes_and_goes_does_not_wear_the_card(box: Places) -> None:
    clock = Clock()
    addresses = [["a"]]
    watch = Watch(box, clock, lambda: addresses[0], lambda: "stage-left", lambda: True, lambda _: False)
    written = set()
    for turn in range(MOST_WRITES * 3):
        addresses[0] = [f"10.0.0.{turn} (wlan0)"]
        clock.now += 60
        watch.look()
        written.add((box.firmware / "status.txt").stat().st_mtime_ns)
    assert len(written) <= MOST_WRITES


@pytest.mark.parametrize(
    ("dates", "now", "becomes"),
    [
        ([], 0, BUILT_S),
        ([BUILT_S + 5 * DAY_S], 0, BUILT_S + 5 * DAY_S),
        ([BUILT_S + 5 * DAY_S, BUILT_S + 9 * DAY_S, BUILT_S - DAY_S], BUILT_S, BUILT_S + 9 * DAY_S),
        ([BUILT_S + 5 * DAY_S], BUILT_S + 6 * DAY_S, None),
        ([BUILT_S + TRUSTED_S + DAY_S], BUILT_S + DAY_S, None),
        ([0], BUILT_S + DAY_S, None),
    ],
)
def test_the_clock_is_at_least_what_the_card_knows(
    board: Places, dates: list[int], now: int, becomes: int | None
) -> None:
    board.release.parent.mkdir(parents=True)
    board.release.write_text(f'{{"built": {BUILT_S}}}')
    for directory in (board.firmware, board.data, board.accepted):
        for number, date in enumerate(dates):
            (directory / f"{number}.txt").touch()
            os.utime(directory / f"{number}.txt", (date, date))
    for directory in (board.data, board.accepted, board.firmware, board.data / "settings"):
        if directory.exists():
            os.utime(directory, (BUILT_S, BUILT_S))
    put: list[float] = []
    set_clock(board, lambda: now, put.append)
    assert put == ([becomes] if becomes is not None else [])


@pytest.mark.parametrize("text", ["", "[]", "{", '{"built": "x"}', '{"built": null}'])
def test_a_release_that_cannot_be_read_sets_no_clock(board: Places, text: str) -> None:
    board.release.parent.mkdir(parents=True)
    board.release.write_text(text)
    put: list[float] = []
    set_clock(board, lambda: 1e9, put.append)
    assert put == []
    assert "version    unknown" in status_text(board, []) or text == "[]"


def test_the_radio_is_asked_in_the_words_of_the_kernel() -> None:
    raw = message(CONTROL_FAMILY, GET_FAMILY, {2: b"nl80211\0"})
    assert struct.unpack_from("=IHHII", raw) == (len(raw), 16, 5, 1, 0)
    assert raw[16:] == struct.pack("=BBH", 3, 1, 0) + struct.pack("=HH", 12, 2) + b"nl80211\0"
    answer = struct.pack("=IHHII", 28, 16, 0, 1, 0) + struct.pack("=BBH", 1, 2, 0) + struct.pack("=HHHH", 6, 1, 28, 0)
    assert family_id(answer) == 28
    assert power_save_off("no-such-radio") != ""


@given(st.binary(max_size=200))
def test_any_answer_of_the_kernel_is_read_to_an_end(raw: bytes) -> None:
    with contextlib.suppress(OSError, KeyError, struct.error):
        family_id(raw)
