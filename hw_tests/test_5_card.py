"""The files on the card, edited between two starts: wrong ones are reported, right ones take effect."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hw_tests.conftest import CONFIG, RESULTS
from hw_tests.figures import Figures
from hw_tests.qemu import QemuBoard
from hw_tests.traffic import connect, read_params, set_params

SECRET = "a secret that must leave the card"
ON_CARD = f'\n[security]\nmode = "authenticated"\n[[security.token]]\ntoken = "{SECRET}"\nscopes = ["admin:/**"]\n'


def test_wrong_files_are_reported_and_right_ones_taken(qemu: QemuBoard) -> None:
    with connect(qemu) as client:
        set_params(client, {"/before/edit": 1})
    qemu.shut_down()
    qemu.put("clasp-edge.toml", "[mqtt]\nlisten = 7\nnonsense = \x07\n")
    qemu.put("hostname.txt", "my box!")
    qemu.put("wifi.txt", "country = DE\nname = Stage\npassword = short\n")
    qemu.boot()
    assert qemu.run("hostname") == "stage-left"
    assert "strict" in qemu.run("cat /etc/clasp-edge/conf.d/50-board.toml")
    with connect(qemu) as client:
        assert read_params(client, "/before/*") == {"/before/edit": 1}
    qemu.cut_power()
    problems = qemu.get("problems.txt") or ""
    for name in ("clasp-edge.toml", "hostname.txt", "wifi.txt"):
        assert f"- {name}: " in problems

    qemu.put("clasp-edge.toml", CONFIG + ON_CARD)
    qemu.put("hostname.txt", "stage-right")
    qemu.put("wifi.txt", "# none\n")
    qemu.boot()
    assert qemu.run("hostname") == "stage-right"
    assert SECRET in qemu.run("cat /etc/clasp-edge/conf.d/50-board.toml")
    qemu.cut_power()
    assert qemu.get("problems.txt") is None
    assert SECRET not in (qemu.get("clasp-edge.toml") or "")
    with qemu.card.open("rb") as card:
        card.seek(qemu.partition(1)[0])
        assert SECRET.encode() not in card.read(qemu.partition(1)[1])
    qemu.put("clasp-edge.toml", CONFIG)
    qemu.boot()


def test_a_data_partition_that_is_destroyed(qemu: QemuBoard) -> None:
    qemu.cut_power()
    first, length = qemu.partition(4)
    # All of it: a part would be repaired from the copies that ext4 keeps of what matters.
    subprocess.run(["fallocate", "--punch-hole", "-o", str(first), "-l", str(length), qemu.card], check=True)
    qemu.boot()
    assert "cannot be used" in qemu.run("cat /boot/firmware/problems.txt")
    with connect(qemu) as client:
        set_params(client, {"/in/memory": 1})
    qemu.cut_power()
    qemu.put("erase-data.txt", "")
    qemu.boot()
    assert qemu.run("findmnt -n -o FSTYPE /data") == "ext4"
    assert (
        qemu.run("test ! -e /boot/firmware/erase-data.txt && test ! -e /boot/firmware/problems.txt && echo gone")
        == "gone"
    )


def test_a_card_smaller_than_the_image(qemu: QemuBoard, image: Path, figures: Figures) -> None:
    qemu.cut_power()
    small = QemuBoard(image, RESULTS / "small", qemu.key, card_bytes=1000 << 20)
    small.put("ssh-keys.txt", qemu.key.with_suffix(".pub").read_text())
    try:
        small.boot()
        assert "smaller than the image" in small.run("cat /boot/firmware/problems.txt")
        with connect(small) as client:
            set_params(client, {"/in/memory": 1})
    finally:
        small.remove()
    figures.note("card of 1 GB", "runs from memory, says so")
