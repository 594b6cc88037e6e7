"""A show's traffic over the wire: latencies at a thousand messages a second, the most the box passes on, and how its
processor takes that.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import build, load
from hw_tests.boards import Board
from hw_tests.figures import Figures

RATE = 1000
LATENCY_S, THROUGHPUT_S = 20, 10
LONG_FACTOR = 15  # five minutes: what a case without a fan needs to grow hot

FAST_FILE = "/etc/clasp-edge/conf.d/90-hw-test.toml"
FAST = '[journal]\nmode = "group"\n[limits]\nmessages_per_second = 0\n'

PROCESSOR = {
    "temperature": ("cat /sys/class/thermal/thermal_zone0/temp", 1000, "degrees C"),
    "processor's clock": ("cat /sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", 1000, "MHz"),
    "processor's highest clock": ("cat /sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq", 1000, "MHz"),
    "voltage was too low (1 = yes)": ("cat /sys/class/hwmon/hwmon*/in0_lcrit_alarm", 1, ""),
}
"""What the kernel tells of a Raspberry Pi, by what divisor, in which unit."""


@pytest.fixture(scope="module")
def program() -> Path:
    return build.load_generator()


@pytest.fixture(scope="module")
def fast(shared_board: Board) -> Iterator[Board]:
    """The board as it is delivered, but that one client may send as much as it likes."""
    shared_board.run(f"printf '%s' '{FAST}' > {FAST_FILE}; chmod 644 {FAST_FILE}; systemctl restart clasp-edge")
    shared_board.wait_ready()
    yield shared_board
    shared_board.run(f"rm -f {FAST_FILE}; systemctl restart clasp-edge")
    shared_board.wait_ready()


def passed_on(board: Board, program: Path, options: str) -> load.LoadResult:
    """One run of the load generator from here, everything delivered."""
    result = load.run(
        program, board.ports.websocket, None, ["--host", socket.gethostbyname(board.host), *options.split()]
    )
    assert result.broken == 0
    assert result.lost_percent == 0
    return result


@pytest.mark.parametrize("kind", ["set", "event"])
def test_a_thousand_messages_a_second(fast: Board, program: Path, figures: Figures, long_run: bool, kind: str) -> None:
    seconds = LATENCY_S * (LONG_FACTOR if long_run else 1)
    result = passed_on(
        fast, program, f"--kind {kind} --publishers 4 --subscribers 4 --rate {RATE} --duration {seconds}"
    )
    delivered = result.raw["delivery_us"]
    for name in ("p50", "p99", "p99.9"):
        figures.note(f"{RATE} {kind}/s to 4 subscribers: {name}", delivered[name] / 1000, "ms")


def test_the_most_it_passes_on(fast: Board, program: Path, figures: Figures, long_run: bool) -> None:
    seconds = THROUGHPUT_S * (LONG_FACTOR if long_run else 1)
    result = passed_on(fast, program, f"--kind set --publishers 4 --subscribers 4 --partition --duration {seconds}")
    figures.note("SETs acknowledged and delivered, 4 to 4", result.handled_per_s, "/s")
    for name, (command, divisor, unit) in PROCESSOR.items():
        told = fast.run(f"{command} 2>/dev/null | head -1", check=False)
        if told.isdigit():
            figures.note(f"after that: {name}", int(told) / divisor, unit)
        else:
            assert fast.emulated or name != "temperature", "a real board has a thermometer"
