"""Updates by clasp-edge-update: kept when the router is well, taken back when it is not, harmless when interrupted.

Each brings kernels of its own. Where a test wants another one, it is the same with a first stage that calls itself
something else: to the box that is another kernel, and is started in the place of its own.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from clasp_board.bundle import Manifest, write_bundle
from clasp_board.kernels import IDENTITY, identity_text

from hw_tests.boards import Board
from hw_tests.conftest import RESULTS
from hw_tests.figures import Figures
from hw_tests.qemu import QemuBoard
from hw_tests.traffic import connect, read_params, set_params
from image.boot_slot import boot_slot
from image.build import sign_kernels
from image.initramfs import Archive
from image.kernel import take_apart
from image.keys import sign
from image.lock import read_lock
from image.paths import BOARD, DISK_ID, WORK

SEND_TIMEOUT_S = 1200
KERNEL_PANIC = b"#!/bin/sh\nexit 1\n"
REPLACED = "starting the kernel of system"
"""What the first stage says where it starts another kernel than the firmware."""

Files = list[tuple[str, Path]]


def own_kernels() -> Files:
    """The kernels that the image was built with."""
    return boot_slot(read_lock(), take_apart(read_lock(), WORK / "kernel"), RESULTS / "kernels")


def other_kernels(stage: str, init: bytes | None = None) -> Files:
    """The same, but called `stage` (32 hexadecimal digits); with another program for the first stage if given."""
    files = []
    place = RESULTS / stage
    for name, path in own_kernels():
        directory, target = name.rpartition("/")[0], place / name
        prefix = f"{directory}/" if directory else ""
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.name == IDENTITY:
            target.write_bytes(identity_text(stage, "another"))
        elif path.name == "initrd.img":
            added = Archive()  # what comes later in such a file takes the place of what came before
            conf = f"disk_id={DISK_ID:08x}\nstage={stage}\ndirectory={prefix}\n"
            added.add("disk.conf", 0o100644, conf.encode())
            if init is not None:
                added.add("init", 0o100755, init)
            whole = path.read_bytes()
            target.write_bytes(whole.ljust(-(-len(whole) // 4) * 4, b"\0") + added.finish())
        else:
            target = path
        files.append((name, target))
    return files


def bundle_of(root: Path, on: Board, name: str, kernels: Files | None = None, **changes: str) -> Path:
    """An update with this root and these kernels (else those of the image), of the version that runs on the board."""
    running = json.loads(on.run("cat /usr/lib/clasp-edge-board/release.json"))
    with root.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    manifest = Manifest(BOARD, running["version"], running["built"], running["kernels"], root.stat().st_size, digest)
    raw = replace(manifest, **changes).as_json()  # type: ignore[arg-type]
    target = RESULTS / name
    signed = sign_kernels(digest, own_kernels() if kernels is None else kernels, "hw-test")
    write_bundle(target, raw, sign(raw, "hw-test"), root, running["built"], signed)
    return target


def send(board: Board, bundle: Path, options: str = "") -> str:
    """Install an update through a pipe, as over a slow network; what the board says."""
    return board.run(f"clasp-edge-update {options} -", given=bundle.read_bytes(), check=False, timeout_s=SEND_TIMEOUT_S)


def booted(board: Board) -> str:
    return board.run(". /run/clasp-edge-board/boot; echo $booted")


@pytest.fixture(scope="module")
def same() -> Path:
    root = WORK / "root.squashfs"
    if not root.exists():
        pytest.skip("the root that the image was built from is not here")
    return root


def test_what_does_not_fit_is_refused_with_a_sentence(board: Board, same: Path) -> None:
    slot = booted(board)
    whole = bundle_of(same, board, "whole.update")
    cut = RESULTS / "cut.update"
    cut.write_bytes(whole.read_bytes()[: 9 << 20])
    assert "copy was cut short" in send(board, cut)
    assert "another kind of box" in send(board, bundle_of(same, board, "foreign.update", board="toaster"))
    assert "it is older" in send(board, bundle_of(same, board, "older.update", version="0.0.1"))
    forged = RESULTS / "forged.update"
    raw = bytearray(whole.read_bytes())
    raw[512 + 30] ^= 1
    forged.write_bytes(raw)
    assert "signature" in send(board, forged)
    board.reboot()
    assert booted(board) == slot


def test_a_good_update_is_tried_and_kept(board: Board, same: Path, figures: Figures) -> None:
    slot = booted(board)
    with connect(board) as client:
        set_params(client, {"/before/update": 1})
    bundle = bundle_of(same, board, "good.update")
    begun = time.monotonic()
    said = send(board, bundle)
    assert "is installed, and will be tried" in said
    size_mb = bundle.stat().st_size / 1e6
    figures.note(f"update of {size_mb:.0f} MB sent, written and read back", time.monotonic() - begun, "s")
    board.reboot()
    assert booted(board) != slot
    board.wait_until(". /run/clasp-edge-board/boot; echo kept=$slot", f"kept={'b' if slot == 'a' else 'a'}", 600)
    with connect(board) as client:
        assert read_params(client, "/before/update") == {"/before/update": 1}
    board.reboot()
    assert booted(board) != slot


def stage_of(board: Board) -> str:
    """What the running kernel's first stage calls itself."""
    return board.run(". /run/clasp-edge-board/boot; echo $stage")


def test_another_kernel_is_tried_with_its_system_and_kept(qemu: QemuBoard, same: Path, figures: Figures) -> None:
    slot, stage = booted(qemu), stage_of(qemu)
    other = "c" * 32
    assert stage != other
    said = send(qemu, bundle_of(same, qemu, "kernel.update", other_kernels(other)))
    assert "is installed, and will be tried" in said
    assert qemu.run("grep ^os_prefix /boot/firmware/config.txt | cut -c 11").split() == [slot, slot]
    figures.note("restart into another kernel, to answering", qemu.reboot(), "s")
    assert booted(qemu) != slot
    assert stage_of(qemu) == other
    new = booted(qemu)
    qemu.wait_until("grep ^os_prefix /boot/firmware/config.txt", f"os_prefix={new}/pi5/", 600)
    replaced = qemu.console.read_text(errors="replace").count(REPLACED)
    assert replaced > 0
    qemu.reboot()  # now the firmware itself starts it
    assert (booted(qemu), stage_of(qemu)) == (new, other)
    assert qemu.console.read_text(errors="replace").count(REPLACED) == replaced


def test_a_kernel_that_panics_is_taken_back_by_itself(qemu: QemuBoard, same: Path, figures: Figures) -> None:
    slot, stage = booted(qemu), stage_of(qemu)
    begun = time.monotonic()
    bundle = bundle_of(same, qemu, "panic.update", other_kernels("d" * 32, KERNEL_PANIC))
    assert "will be tried" in send(qemu, bundle, "--reboot")
    qemu.wait_gone()
    qemu.wait_ready(1800)
    figures.note("kernel that panics: the old system answers again after", time.monotonic() - begun, "s")
    assert (booted(qemu), stage_of(qemu)) == (slot, stage)
    assert "The last update did not work" in qemu.run("cat /boot/firmware/problems.txt")
    assert "Kernel panic" in qemu.console.read_text(errors="replace")


def test_an_update_that_is_interrupted_leaves_what_runs(qemu: QemuBoard, same: Path) -> None:
    slot = booted(qemu)
    bundle = bundle_of(same, qemu, "interrupted.update")
    raw = bundle.read_bytes()
    sender = subprocess.Popen(
        qemu.ssh("clasp-edge-update -"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert sender.stdin is not None
    sender.stdin.write(raw[: len(raw) // 2])  # the other half never comes
    sender.stdin.flush()
    time.sleep(5)
    assert sender.poll() is None
    qemu.cut_power()
    sender.kill()
    sender.communicate(timeout=60)
    qemu.boot()
    assert booted(qemu) == slot


def test_a_broken_update_is_taken_back_by_itself(qemu: QemuBoard, same: Path, figures: Figures) -> None:
    """Everything starts but the router."""
    slot = booted(qemu)
    broken = RESULTS / "broken.squashfs"
    broken.unlink(missing_ok=True)
    subprocess.run(
        ["mksquashfs", WORK / "root", broken, "-comp", "zstd", "-Xcompression-level", "3", "-noappend", "-no-progress",
         "-quiet", "-e", "usr/bin/clasp-edge"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    begun = time.monotonic()
    assert "will be tried" in send(qemu, bundle_of(broken, qemu, "broken.update"), "--reboot")
    qemu.wait_gone()
    qemu.wait_ready(1800)
    figures.note("broken update: the old system answers again after", time.monotonic() - begun, "s")
    assert booted(qemu) == slot
    assert "The last update did not work" in qemu.run("cat /boot/firmware/problems.txt")
