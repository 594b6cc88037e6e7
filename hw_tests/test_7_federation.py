"""Two boxes and a larger router: what is set at one box arrives at the other, through the hub on this machine."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clasp_edge import wire
from hw_tests.boards import free_port
from hw_tests.conftest import RESULTS
from hw_tests.qemu import QemuBoard
from hw_tests.traffic import REPLY_TIMEOUT_S, connect, set_params

HUB_AS_SEEN_BY_THE_BOARDS = "10.0.2.2"
"""This machine's loopback, as QEMU shows it to what it emulates."""


@pytest.fixture
def hub() -> Iterator[int]:
    """A router on this machine; its port."""
    port = free_port()
    command = [sys.executable, "-m", "clasp_edge", "run", "--set", f"websocket.listen=127.0.0.1:{port}", "--set",
               "mqtt.listen=off", "--set", "osc.listen=off", "--set", f"data_dir={RESULTS / 'hub'}"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    yield port
    process.terminate()
    process.wait(30)


def test_two_boxes_share_what_is_set_at_one(qemu: QemuBoard, image: Path, hub: int) -> None:
    qemu.shut_down()
    boxes = []
    try:
        for name, other in (("left", "right"), ("right", "left")):
            box = QemuBoard(image, RESULTS / name, qemu.key)
            box.isolated = False
            box.put("ssh-keys.txt", qemu.key.with_suffix(".pub").read_text())
            box.put("hostname.txt", f"stage-{name}")
            box.put("clasp-edge.toml", uplink_config(name, other, hub))
            boxes.append(box)
            box.start()
        for box in boxes:
            box.wait_ready()
        left, right = boxes
        with connect(left) as at_left, connect(right) as at_right:
            at_right.send(wire.Subscribe(id=1, pattern="/left/**"))
            at_right.sync(REPLY_TIMEOUT_S)
            deadline = time.monotonic() + 300
            arrived = None
            while arrived is None:
                set_params(at_left, {"/left/level": time.monotonic()})
                try:
                    arrived = at_right.recv_until(wire.Set, 10)
                except TimeoutError:
                    assert time.monotonic() < deadline, "nothing came through the hub" + left.last_words()
            assert arrived.address == "/left/level"
    finally:
        for box in boxes:
            box.remove()


def uplink_config(name: str, other: str, port: int) -> str:
    return (
        f'name = "{name}"\n[uplink.hub]\nurl = "ws://{HUB_AS_SEEN_BY_THE_BOARDS}:{port}"\n'
        f'owns = ["/{name}/**"]\nwants = ["/{other}/**"]\n'
    )
