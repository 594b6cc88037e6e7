"""Power cuts under load, a hanging router, a full data partition."""

from __future__ import annotations

import random
import time

import pytest

from hw_tests.boards import Board
from hw_tests.figures import Figures
from hw_tests.qemu import QemuBoard
from hw_tests.traffic import Writer, connect, read_params, set_params

CUTS, CUTS_LONG = 3, 20

JOURNAL_STATE = "/clasp-edge/journal/state"
STORED_AGAIN_S = 120


def test_params_survive_a_restart_of_the_board(board: Board, figures: Figures) -> None:
    with connect(board) as client:
        set_params(client, {f"/kept/{number}": number for number in range(20)})
    identity = board.run("cat /etc/machine-id")
    figures.note("restart until the router answers", board.reboot(), "s")
    assert board.run("cat /etc/machine-id") == identity
    with connect(board) as client:
        assert read_params(client, "/kept/*") == {f"/kept/{number}": number for number in range(20)}


def test_a_router_that_hangs_is_started_again(board: Board, figures: Figures) -> None:
    before = board.run("systemctl show -P MainPID clasp-edge")
    begun = time.monotonic()
    board.run(f"kill -STOP {before}")
    board.wait_until("systemctl show -P MainPID clasp-edge; systemctl is-active clasp-edge", "\nactive", 300)
    deadline = time.monotonic() + 300
    while board.run("systemctl show -P MainPID clasp-edge") == before:
        assert time.monotonic() < deadline, "the watchdog did not bite"
        time.sleep(2)
    board.wait_ready()
    figures.note("router stopped by SIGSTOP: answering again after", time.monotonic() - begun, "s")


def test_a_full_data_partition_stops_nothing(board: Board) -> None:
    board.run("fallocate -l $(($(df -B1 --output=avail /data | tail -1) - 65536)) /data/filler", check=False)
    try:
        board.run("dd if=/dev/zero of=/data/filler2 bs=4096 2>/dev/null", check=False)
        with connect(board) as client:
            client.sync(60)
        board.run("systemctl restart clasp-edge", timeout_s=300)
        board.wait_ready()
        with connect(board) as client:
            client.sync(60)
    finally:
        board.run("rm -f /data/filler /data/filler2; sync")
    # It goes on by itself. What was said while nothing could be stored is stored now, too.
    with connect(board) as client:
        deadline = time.monotonic() + STORED_AGAIN_S
        while read_params(client, JOURNAL_STATE)[JOURNAL_STATE] != "ok":
            assert time.monotonic() < deadline, "nothing is stored, though there is room again"
        set_params(client, {"/after/full": 1})
    board.run("systemctl restart clasp-edge", timeout_s=300)
    board.wait_ready()
    with connect(board) as client:
        assert read_params(client, "/after/full") == {"/after/full": 1}


def test_power_cuts_lose_nothing_that_was_acknowledged(qemu: QemuBoard, figures: Figures, long_run: bool) -> None:
    cuts = CUTS_LONG if long_run else CUTS
    expected: dict[str, int] = {}
    times = []
    for cut in range(cuts):
        writer = Writer(qemu, f"/cut/{cut}")
        writer.start()
        time.sleep(random.uniform(2, 15))
        qemu.cut_power()
        writer.stop()
        expected.update(writer.acknowledged)
        times.append(qemu.boot())
        with connect(qemu) as client:
            found = read_params(client, "/cut/**")
        lost = {address: value for address, value in expected.items() if int(str(found.get(address, -1))) < value}
        assert lost == {}, f"after cut {cut + 1}"
        assert len(writer.acknowledged) > 0
        assert "repaired" not in qemu.run("cat /run/clasp-edge-board/problems 2>/dev/null", check=False)
        assert "rw" in qemu.run("findmnt -n -o OPTIONS /data")
    figures.note("power cuts under load", cuts)
    figures.note("acknowledged params checked after cuts", len(expected))
    figures.note("power on to router answering, after a cut", sum(times) / len(times), "s")


@pytest.mark.parametrize("how", ["echo c > /proc/sysrq-trigger"])
def test_a_kernel_that_dies_starts_anew(qemu: QemuBoard, figures: Figures, how: str) -> None:
    qemu.run("sysctl -q kernel.sysrq=1")
    begun = time.monotonic()
    qemu.run(f"sync; (sleep 1; {how}) >/dev/null 2>&1 &", check=False)
    qemu.wait_gone()
    qemu.wait_ready()
    figures.note("kernel panic: answering again after", time.monotonic() - begun, "s")
