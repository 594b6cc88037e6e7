"""clasp-edge-update: puts an update into the system that is not running, and has it tried at the next start.

The running system is never touched. Until the last step, one sector on the boot partition, nothing has changed for the
next start; so it may be interrupted at any moment. Whether the update is kept is decided later (confirm.py).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from clasp_board.bundle import CHUNK_BYTES, Bundle, BundleError, Manifest, open_bundle, version_key
from clasp_board.kernels import (
    are_whole,
    forget_others,
    has_kernels,
    let_firmware_start,
    renewed,
    room_for,
    running_directory,
    started_by_firmware,
    write_kernel_file,
)
from clasp_board.network_health import remember_network
from clasp_board.places import Places, read_fields
from clasp_board.slots import other, read_state, write_state
from clasp_board.system import device_size, run, writable

LINGER_S = 10.0
"""For the next piece of an update that is refused already."""

FIRMWARE_SPARE_BYTES = 4 << 20
"""Of the boot partition: for settings, and for what a file takes beyond its length."""

NUMBERS = {"a": 2, "b": 3}
"""The partitions of the two systems."""


def main(arguments: list[str], places: Places | None = None) -> int:
    """Install the update named in `arguments`; 0 when it will be tried, 1 with a sentence when it was refused."""
    parser = argparse.ArgumentParser(prog="clasp-edge-update", description="Install an update of the box's system.")
    parser.add_argument(
        "file", metavar="FILE", help="the update, clasp-edge-VERSION-arm64.update; - reads it from a pipe"
    )
    parser.add_argument("--reboot", action="store_true", help="start the box anew at once to try it")
    parser.add_argument("--allow-older", action="store_true", help="install it though it is older than what runs")
    given = parser.parse_args(arguments)
    places = places or Places()
    try:
        with _locked(places):
            manifest = install(places, given.file, given.allow_older)
    except BundleError as error:
        print(f"Not installed: {error}. The box goes on as it is.", file=sys.stderr, flush=True)
        if given.file == "-":
            _let_finish()
        return 1
    except OSError as error:
        print(f"Not installed: {error}. The box goes on as it is; the card may be worn out.", file=sys.stderr)
        return 1
    print(f"Version {manifest.version} is installed, and will be tried when the box is started the next time.")
    print("If it does not work, the box goes back to what runs now by itself.")
    if given.reboot:
        run("systemctl", "reboot")
    return 0


def install(places: Places, file: str, allow_older: bool) -> Manifest:
    """Check, write, read back, and only then ask for the try. Raises BundleError, OSError."""
    boot = read_fields(places.boot)
    booted = boot.get("booted", "a")
    if boot.get("trying") == booted:
        raise BundleError("the system that runs is new and still being tried. Please wait five minutes")
    target = Path(f"{boot['partition']}{NUMBERS[other(booted)]}")
    # Without closing it: what is refused is said on the same socket.
    with open(0, "rb", closefd=False) if file == "-" else _opened(file) as opened:
        bundle = open_bundle(opened, places.update_keys, places.run / "update")
        check_fits(places, bundle.manifest, device_size(target), allow_older)
        settle_on(places, booted)
        write_root(bundle, target)
        if has_kernels(places):
            write_kernels(places, bundle, other(booted))
    remember_network(places)
    with writable(places.firmware):
        write_state(places.slot_state, read_state(places.slot_state).tried_next(other(booted)))
    return bundle.manifest


def check_fits(places: Places, manifest: Manifest, room: int, allow_older: bool) -> None:
    """Raises BundleError where the update is for something else."""
    running = json.loads(places.release.read_text())
    if manifest.board != running["board"]:
        raise BundleError(f'it was made for another kind of box ("{manifest.board}"; this one is "{running["board"]}")')
    kernel = places.kernel.read_text().strip()
    if not has_kernels(places) and kernel not in manifest.kernels.split():
        raise BundleError(
            f"it is for the kernels {manifest.kernels}, and this box starts {kernel}. "
            "Its card is laid out as the first were, where a new kernel comes only by writing the card anew "
            "(docs/board.md says how to take everything along)"
        )
    offered = (version_key(manifest.version), manifest.built)
    present = (version_key(running["version"]), running["built"])
    if offered < present and not allow_older:
        raise BundleError(
            f"it is older ({manifest.version}) than what the box has ({running['version']}). "
            "If that is what you want: clasp-edge-update --allow-older"
        )
    if manifest.root_bytes > room:
        raise BundleError("it is too large for this card's layout; please write the card anew")


def settle_on(places: Places, booted: str) -> None:
    """Have the next start take what runs now: from here on the other system is being written over.

    An update that waits to be tried is forgotten. Where `booted` runs because the other one was damaged, or because
    the state could not be read, it is what the box goes back to, and the other one is on trial like any update.
    """
    if has_kernels(places) and not are_whole(places, booted):
        raise BundleError("the kernel of the system that runs is damaged on the card; please write the card anew")
    state = read_state(places.slot_state)
    if state.try_ or state.slot != booted:
        with writable(places.firmware):
            write_state(places.slot_state, state.confirmed(booted))
    if has_kernels(places) and started_by_firmware(places) != booted:
        with writable(places.firmware):
            if not let_firmware_start(places, booted):
                raise BundleError("config.txt on the card does not say os_prefix=, so no kernel could be tried safely")


def write_kernels(places: Places, bundle: Bundle, slot: str) -> None:
    """Write the kernels of `slot` beside those that run. Raises BundleError, OSError."""
    files = bundle.kernels()
    wanted = running_directory(places) + "vmlinuz"
    if wanted not in {file.name for file in files}:
        raise BundleError("it has no kernel for this board")
    with writable(places.firmware):
        if sum(file.bytes for file in files) + FIRMWARE_SPARE_BYTES > room_for(places, slot):
            raise BundleError("its kernels are too large for the boot partition; please write the card anew")
        with renewed(places, slot) as directory:
            forget_others(directory, {file.name for file in files})
            for file in files:
                if not write_kernel_file(directory / file.name, bundle.kernel_file(file), file.sha256):
                    raise BundleError("the card does not keep what is written to it; it is worn out. Please replace it")


def write_root(bundle: Bundle, target: Path) -> None:
    """Write the root to its partition and read it back from the card. Raises BundleError, OSError."""
    handle = os.open(target, os.O_RDWR)
    try:
        written = 0
        for chunk in bundle.root():
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(handle, rest) :]
            written += len(chunk)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)  # so that the card is read and not our memory
        os.lseek(handle, 0, os.SEEK_SET)
        digest = hashlib.sha256()
        while written > 0:
            chunk = os.read(handle, min(CHUNK_BYTES, written))
            if not chunk:
                break
            digest.update(chunk)
            written -= len(chunk)
    finally:
        os.close(handle)
    if digest.hexdigest() != bundle.manifest.root_sha256:
        raise BundleError("the card does not keep what is written to it; it is worn out. Please replace it")


def _let_finish() -> None:
    """Where it comes by the page: a socket that is closed with something unread takes what was said last with it."""
    try:
        if not stat.S_ISSOCK(os.fstat(0).st_mode):
            return
        with socket.socket(fileno=os.dup(0)) as sender:
            sender.settimeout(LINGER_S)
            while sender.recv(CHUNK_BYTES):
                pass
    except OSError:
        pass


def _opened(file: str) -> IO[bytes]:
    try:
        return open(file, "rb")
    except OSError as error:
        raise BundleError(f"{file} cannot be read: {error.strerror}") from None


@contextmanager
def _locked(places: Places) -> Iterator[None]:
    """One update at a time."""
    places.run.mkdir(parents=True, exist_ok=True)
    import fcntl

    with (places.run / "update.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BundleError("another update is being installed") from None
        yield
