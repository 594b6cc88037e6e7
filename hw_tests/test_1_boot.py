"""The box after its first start: what it says of itself, what is mounted how, what the card's files did."""

from __future__ import annotations

import json

from hw_tests.boards import Board
from hw_tests.figures import Figures
from hw_tests.qemu import CARD_BYTES, QemuBoard


def test_nothing_has_failed(board: Board, figures: Figures) -> None:
    board.wait_until("systemctl is-system-running", "running", 600)
    assert board.run("systemctl --failed --plain --no-legend") == ""
    assert "ActiveState=active" in board.run("systemctl show -p ActiveState,StatusText clasp-edge")
    release = json.loads(board.run("cat /usr/lib/clasp-edge-board/release.json"))
    figures.note("version", f"{release['version']} ({board.run('uname -r')})")


def test_the_root_cannot_be_changed(board: Board) -> None:
    mounts = dict(reversed(line.split()[:2]) for line in board.run("cat /proc/mounts").splitlines())
    assert mounts["/"] in ("root", "overlay")
    assert "Read-only" in board.run("touch /run/clasp-edge-board/slot/x", check=False)
    board.run("touch /usr/x && test -e /usr/x && rm /usr/x")  # only in memory


def test_what_must_last_is_on_the_data_partition(board: Board) -> None:
    kept = board.run("findmnt -n -o SOURCE /data")
    assert kept.startswith("/dev/")
    assert board.run("findmnt -n -o SOURCE /var/lib/clasp-edge").startswith(kept)
    assert "ro," in board.run("findmnt -n -o OPTIONS /boot/firmware")
    assert board.run("findmnt -n -o OPTIONS /data").startswith("rw")


def test_the_data_partition_fills_the_card(qemu: QemuBoard, figures: Figures) -> None:
    size = int(qemu.run("df -B1 --output=size /data | tail -1"))
    first, length = qemu.partition(4)
    assert first + length == CARD_BYTES
    assert size > 0.85 * length
    figures.note("data partition on a 2 GiB card", size / 1e6, "MB")


def test_the_settings_on_the_card_are_in_force(qemu: QemuBoard) -> None:
    assert qemu.run("hostname") == "stage-left"
    assert "strict" in qemu.run("cat /etc/clasp-edge/conf.d/50-board.toml")
    # A start that takes minutes is a problem until the router has answered.
    qemu.wait_until("test -e /boot/firmware/problems.txt || echo none", "none", 120)


def test_nobody_gets_in_without_the_key(board: Board) -> None:
    shadow = board.run("getent shadow root")
    assert shadow.split(":")[1] in ("*", "!*", "!", "!!")
    settings = board.run("sshd -T").splitlines()
    assert "passwordauthentication no" in settings
    assert "kbdinteractiveauthentication no" in settings


def test_no_timer_works_at_times_of_its_own(board: Board) -> None:
    assert board.run("systemctl list-timers --no-legend --plain") == ""


def test_the_hardware_watchdog_is_armed(board: Board) -> None:
    assert "RuntimeWatchdogUSec=15s" in board.run("systemctl show -p RuntimeWatchdogUSec")
    assert board.run("cat /sys/class/watchdog/watchdog0/state") == "active"


def test_the_service_is_locked_up(board: Board, figures: Figures) -> None:
    last = board.run("systemd-analyze security clasp-edge.service --no-pager | tail -1", timeout_s=300)
    score = float(last.split("clasp-edge.service:")[1].split()[0])
    figures.note("systemd-analyze security", score)
    assert score <= 1.5
