"""What the journal writes to its block device, in bytes, with the file system of the board on a loop device.

Run as root: `python -m benchmarks.wear [--seconds 60] [--mode group] [--options commit=5] [LOAD ...]`. The figures are
those of the kernel for the device, so everything is in them: LMDB's pages, ext4's log, its metadata. What a card makes
of them inside is not.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.client import WsClient
from support.daemon import Daemon

from clasp_edge import wire

SHAPE = ("-m", "1", "-b", "4096", "-i", "131072", "-J", "size=16")
"""As the board's data partition (image/disk.py)."""

MIB = 512
SECTOR = 512
DAY_S = 86_400
SETTLE_S = 8.0


@contextmanager
def card(options: str, features: str) -> Iterator[tuple[Path, Path]]:
    """A mounted file system of the board's shape, and the kernel's statistics of its device."""
    with tempfile.TemporaryDirectory(prefix="wear-") as name:
        image, place = Path(name) / "image", Path(name) / "data"
        place.mkdir()
        with image.open("wb") as file:
            file.truncate(MIB << 20)
        quiet = ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", *SHAPE]
        quiet += ["-O", features] if features else []
        quiet.append(str(image))
        subprocess.run(quiet, check=True)
        shown = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True, text=True)
        device = shown.stdout.strip()
        try:
            subprocess.run(["mount", "-t", "ext4", "-o", f"noatime,{options}", device, place], check=True)
            try:
                yield place, Path("/sys/block") / Path(device).name / "stat"
            finally:
                subprocess.run(["umount", "-l", place], check=False)
        finally:
            subprocess.run(["losetup", "-d", device], check=False)


def written(stat: Path) -> int:
    """Bytes that the device has been told to write."""
    return int(stat.read_text().split()[6]) * SECTOR


def every(rate: float, ended: threading.Event, do: Callable[[int], None]) -> None:
    """Call `do` so many times a second until the end; what is late is made up for."""
    begun, number = time.monotonic(), 0
    while not ended.is_set():
        due = begun + number / rate
        ended.wait(max(0.0, due - time.monotonic()))
        do(number)
        number += 1


def sets(daemon: Daemon, rate: float, params: int, ended: threading.Event) -> None:
    """One client that sets so many params in turn."""
    with WsClient(daemon.ws_url).hello() as client:

        def one(number: int) -> None:
            client.send(wire.Set(address=f"/show/dimmer/{number % params}", value=float(number % 1000) / 1000))
            client.recv()

        every(rate, ended, one)


def fader(daemon: Daemon, ended: threading.Event) -> None:
    """One OSC device that moves one fader."""
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:

        def one(number: int) -> None:
            packet = b"/mixer/ch/01/fader\0\0,f\0\0" + struct.pack(">f", (number % 1000) / 1000)
            device.sendto(packet, daemon.osc_address)

        every(50.0, ended, one)


LOADS: dict[str, Callable[[Daemon, threading.Event], None]] = {
    "idle": lambda daemon, ended: None,
    "100 SET/s": lambda daemon, ended: sets(daemon, 100.0, 100, ended),
    "fader 50/s": fader,
}


def measure(load: str, mode: str, options: str, features: str, seconds: float, extra: list[str]) -> None:
    """One line of the table."""
    with card(options, features) as (place, stat):
        named = dict(one.split("=", 1) for one in extra)
        with Daemon(osc=True, sets={"data_dir": f"{place}/edge", "journal.mode": mode, **named}) as daemon:
            ended = threading.Event()
            thread = threading.Thread(target=LOADS[load], args=(daemon, ended))
            thread.start()
            time.sleep(SETTLE_S)
            io = Path(f"/proc/{daemon.pid}/io")
            before, cached = written(stat), _cached(io)
            time.sleep(seconds)
            device, pages = written(stat) - before, _cached(io) - cached
            ended.set()
            thread.join()
    rate = device / seconds
    print(
        f"{load:10} {mode:7} {' '.join([options, features, *extra]):40} device {rate / 1000:7.1f} kB/s, "
        f"{rate * DAY_S / 1e9:6.2f} GB/day, {rate * 8 * 3600 / 1e9:5.2f} GB in 8 h; "
        f"the router's own {pages / seconds / 1000:7.1f} kB/s",
        flush=True,
    )


def _cached(io: Path) -> int:
    lines = dict(line.split(": ") for line in io.read_text().splitlines())
    return int(lines["write_bytes"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loads", nargs="*", metavar="LOAD", help=f"of {', '.join(LOADS)}")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--mode", default="group")
    parser.add_argument("--options", default="commit=5")
    parser.add_argument("--features", default="", help="for mkfs.ext4 -O")
    parser.add_argument("--set", action="append", default=[], help="SECTION.KEY=VALUE, as for clasp-edge run")
    given = parser.parse_args()
    for load in given.loads or LOADS:
        measure(load, given.mode, given.options, given.features, given.seconds, given.set)


if __name__ == "__main__":
    main()
