"""What the box is for: WebSocket, MQTT and OSC from outside, bridged to each other; and what that costs when idle."""

from __future__ import annotations

import socket
import time

import pytest
from support.mqtt_client import MqttClient
from support.osc import packet

from clasp_edge import wire
from hw_tests.boards import Board
from hw_tests.figures import Figures
from hw_tests.traffic import REPLY_TIMEOUT_S, Writer, connect, set_params

IDLE_S = 60
HOUR_S = 3600
BUSY_RATE = 100.0
MODE_FILE = "/etc/clasp-edge/conf.d/90-hw-test.toml"

# Bytes that the card was told to write, all partitions together: field 7 counts sectors of 512 bytes.
WRITTEN = "awk '{print $7 * 512}' /sys/block/$(lsblk -no PKNAME $(findmnt -no SOURCE /data) | head -1)/stat"
CPU_TICKS = "p=$(systemctl show -P MainPID clasp-edge); awk '{print $14 + $15}' /proc/$p/stat"


def test_all_doors_lead_to_the_same_params(board: Board) -> None:
    with connect(board) as client:
        client.send(wire.Subscribe(id=1, pattern="/**"))
        client.sync(REPLY_TIMEOUT_S)
        device = MqttClient((board.host, board.ports.mqtt))
        device.connect()
        device.publish("stage/fader", b"0.5", retain=True)
        assert client.recv_until(wire.Set, REPLY_TIMEOUT_S).address == "/mqtt/stage/fader"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as desk:
            desk.sendto(packet("/desk/go", 7), (board.host, board.ports.osc))
        heard = client.recv(REPLY_TIMEOUT_S)
        assert getattr(heard, "address", "") == "/osc/desk/go"
        device.socket.close()


def test_idle(board: Board, figures: Figures, long_run: bool) -> None:
    seconds = HOUR_S if long_run else IDLE_S
    time.sleep(10)
    ticks, written, begun = int(board.run(CPU_TICKS)), int(board.run(WRITTEN)), time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - begun
    ticks, written = int(board.run(CPU_TICKS)) - ticks, int(board.run(WRITTEN)) - written
    rss = int(board.run("p=$(systemctl show -P MainPID clasp-edge); awk '/^VmRSS/ {print $2}' /proc/$p/status"))
    used = board.run("free -b | awk '/^Mem/ {print $3}'")
    figures.note("router idle: RSS", rss / 1000, "MB")
    figures.note("router idle: CPU", ticks / passed, "%")
    figures.note("whole system idle: memory used", int(used) / 1e6, "MB")
    figures.note("written to the card, idle", written / passed * HOUR_S / 1e6, "MB/h")


@pytest.mark.parametrize("mode", ["group", "strict"])
def test_a_hundred_messages_a_second(board: Board, figures: Figures, long_run: bool, mode: str) -> None:
    """As many as it can where that is less: in strict mode each waits for the card."""
    seconds = HOUR_S if long_run else IDLE_S
    board.run(
        f"printf '[journal]\\nmode = \"{mode}\"\\n' > {MODE_FILE}; chmod 644 {MODE_FILE}; systemctl restart clasp-edge"
    )
    board.wait_ready()
    try:
        written, begun = int(board.run(WRITTEN)), time.monotonic()
        writer = Writer(board, "/busy", BUSY_RATE)
        writer.start()
        time.sleep(seconds)
        writer.stop()
        passed = time.monotonic() - begun
        written = int(board.run(WRITTEN)) - written
    finally:
        board.run(f"rm -f {MODE_FILE}; systemctl restart clasp-edge")
        board.wait_ready()
    figures.note(f"journal {mode}: params set, each acknowledged", writer.sent / passed, "/s")
    figures.note(f"journal {mode}: written to the card at that rate", written / passed * HOUR_S / 1e6, "MB/h")
    assert writer.sent > seconds


def test_how_fast_one_message_comes_back(board: Board, figures: Figures) -> None:
    with connect(board) as client:
        times = []
        for number in range(200):
            begun = time.monotonic()
            set_params(client, {"/latency": number})
            times.append((time.monotonic() - begun) * 1000)
    times.sort()
    figures.note("set and acknowledged (strict), p50", times[len(times) // 2], "ms")
    figures.note("set and acknowledged (strict), p99", times[int(len(times) * 0.99)], "ms")
