"""Each system's own kernels on the boot partition: written with an update, started on trial, kept or left."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clasp_board import bundle, confirm, kernel_start, kernels, update
from clasp_board.bundle import KernelFile, Manifest, SignedKernels, kernel_list, write_bundle
from clasp_board.kernel_start import ALIGNMENT, NotStartable, free_memory, prepare
from clasp_board.kernels import identity_text, let_firmware_start, started_by_firmware
from clasp_board.places import Places
from clasp_board.slots import SlotState, read_state, write_state
from clasp_board.update import main

from image import keys
from image.paths import HERE

EPOCH = 1_700_000_000
SLOT_BYTES = 1 << 20
OLD, NEW = "1" * 32, "2" * 32
CONFIG = (HERE / "boot/config.txt").read_bytes()


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "maker.key"
    keys.make_pair(path)
    return path


@pytest.fixture
def box(board: Places, secret: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """A box that runs version 0.9.1 and its kernel from system a."""
    monkeypatch.setattr(keys, "WORK", board.root / "work")
    monkeypatch.setattr(update, "remember_network", lambda places: None)
    for number in (2, 3):
        Path(f"{board.root}/card{number}").write_bytes(bytes(SLOT_BYTES))
    card = board.root / "card"
    board.boot.write_text(f"booted=a\nslot=a\ntrying=\nfailed=\ndisk={card}\npartition={card}\ndirectory=\n")
    board.release.parent.mkdir(parents=True)
    board.release.write_text(
        json.dumps({"board": "clasp-edge-arm64", "version": "0.9.1", "built": EPOCH, "kernels": "6.12.0 7.3.1"})
    )
    board.kernel.parent.mkdir(parents=True)
    board.kernel.write_text("6.12.0\n")
    board.update_key.write_bytes(secret.with_suffix(".pub").read_bytes())
    write_state(board.slot_state, SlotState())
    (board.firmware / "config.txt").write_bytes(CONFIG)
    lay_out(board.firmware / "a", OLD)
    return board


def lay_out(directory: Path, identity: str) -> list[tuple[str, Path]]:
    """The files of a system's kernels, with bytes of their own."""
    files = []
    for below in ("", "pi5/"):
        (directory / below).mkdir(parents=True, exist_ok=True)
        for name in ("vmlinuz", "initrd.img", "cmdline.txt", "board.dtb"):
            (directory / below / name).write_bytes(f"{identity} {below}{name}".encode() * 200)
        (directory / below / "boot.txt").write_bytes(identity_text(identity, "6.13.0"))
        files += [(below + name, directory / below / name)
                  for name in ("vmlinuz", "initrd.img", "cmdline.txt", "board.dtb", "boot.txt")]  # fmt: skip
    return files


def make(path: Path, secret: Path, change: Callable[[list[KernelFile]], list[KernelFile]] = list,
         of: str = "", drop: str = "") -> Path:  # fmt: skip
    """An update to 0.10.0 with another kernel."""
    root = os.urandom(30_000)
    (path.parent / "root").write_bytes(root)
    digest = hashlib.sha256(root).hexdigest()
    raw = Manifest("clasp-edge-arm64", "0.10.0", EPOCH, "6.13.0 7.4.0", len(root), digest).as_json()
    files = lay_out(path.parent / "new", NEW)
    rows = [KernelFile(n, p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest()) for n, p in files]
    listed = kernel_list(of or digest, change(rows))
    signed = SignedKernels(listed, keys.sign(listed, "test", secret), [one for one in files if one[0] != drop])
    write_bundle(path, raw, keys.sign(raw, "test", secret), path.parent / "root", EPOCH, signed)
    return path


def contents(directory: Path) -> dict[str, bytes]:
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def whole(directory: Path, identity: str, beside: Path) -> bool:
    lay_out(beside, identity)
    return contents(directory) == contents(beside)


def test_another_kernel_comes_with_the_update_beside_the_one_that_runs(
    box: Places, secret: Path, tmp_path: Path
) -> None:
    (box.firmware / "b/pi5").mkdir(parents=True)
    (box.firmware / "b/pi5/of-before.dtb").write_bytes(b"x")
    (box.firmware / "b/vmlinuz").write_bytes(b"longer than the new one" * 100_000)
    assert main([str(make(tmp_path / "u", secret))], box) == 0
    assert whole(box.firmware / "b", NEW, tmp_path / "x")
    assert whole(box.firmware / "a", OLD, tmp_path / "y")
    assert read_state(box.slot_state) == SlotState(try_="b")
    assert (box.firmware / "config.txt").read_bytes() == CONFIG


def test_the_power_fails_at_any_step(
    box: Places, secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the next start finds is a whole kernel for the system that it starts."""
    file = make(tmp_path / "u", secret)
    monkeypatch.setattr(bundle, "verify_signature", lambda *given: None)  # takes most of the time

    class PowerCut(BaseException):
        pass

    for step in range(1000):
        write_state(box.slot_state, SlotState())
        lay_out(box.firmware / "b", "3" * 32)  # of some update before
        passed = itertools.count()

        def counted(original: Callable[..., Any], passed: Any = passed, step: int = step) -> Callable[..., Any]:
            def call(*given: Any, **named: Any) -> Any:
                if next(passed) >= step:
                    raise PowerCut
                return original(*given, **named)

            return call

        cut = False
        with monkeypatch.context() as patch:
            for owner, name in ((os, "write"), (os, "ftruncate"), (os, "pwrite"), (os, "fsync"), (Path, "unlink")):
                patch.setattr(owner, name, counted(getattr(owner, name)))
            try:
                main([str(file)], box)
            except PowerCut:
                cut = True
        assert (box.firmware / "config.txt").read_bytes() == CONFIG
        assert (box.firmware / "a/boot.txt").read_bytes() == identity_text(OLD, "6.13.0")
        if read_state(box.slot_state).try_:
            assert whole(box.firmware / "b", NEW, tmp_path / "x"), step
        elif (box.firmware / "b/boot.txt").read_bytes() == identity_text(NEW, "6.13.0"):
            assert (box.firmware / "b/vmlinuz").read_bytes() == (tmp_path / "new/vmlinuz").read_bytes(), step
        if not cut:
            assert step > 30
            assert read_state(box.slot_state) == SlotState(try_="b")
            return
    pytest.fail("it never came to an end")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"of": "0" * 64}, "made for another system"),
        ({"drop": "initrd.img"}, "cut short"),
        ({"change": lambda rows: [one for one in rows if one.name != "vmlinuz"]}, "no kernel for this board"),
        ({"change": lambda rows: [KernelFile("../slot.txt", 3, "x"), *rows]}, "not an update"),
        ({"change": lambda rows: [KernelFile("pi5/../../x", 3, "x"), *rows]}, "not an update"),
        ({"change": lambda rows: [KernelFile("vmlinuz", True, "x"), *rows]}, "not an update"),
        ({"change": lambda rows: [*rows, rows[0]]}, "not an update"),
        ({"change": lambda rows: []}, "not an update"),
        ({"change": lambda rows: [KernelFile("x", 1 << 60, "0" * 64), *rows]}, "too large for the boot partition"),
        ({"change": lambda rows: [KernelFile(r.name, r.bytes, "0" * 64) for r in rows]}, "the file is damaged"),
    ],
)
def test_kernels_that_do_not_fit_are_refused(
    box: Places, secret: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: Any, says: str
) -> None:
    assert main([str(make(tmp_path / "u", secret, **changed))], box) == 1
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert read_state(box.slot_state) == SlotState()
    assert whole(box.firmware / "a", OLD, tmp_path / "y")
    assert not (box.firmware / "b/boot.txt").exists() or not (box.firmware / "b/boot.txt").read_bytes()


def test_a_stranger_s_kernels_behind_a_signed_system_are_refused(
    box: Places, secret: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole_file = make(tmp_path / "u", secret).read_bytes()
    stranger = tmp_path / "stranger.key"
    keys.make_pair(stranger)
    end = whole_file.index(b"kernels.json\0")
    (tmp_path / "foreign").mkdir()
    foreign = make(tmp_path / "foreign/u", stranger).read_bytes()
    (tmp_path / "u").write_bytes(whole_file[:end] + foreign[foreign.index(b"kernels.json\0") :])
    assert main([str(tmp_path / "u")], box) == 1
    assert "signature is not from the maker" in capsys.readouterr().err
    (tmp_path / "u").write_bytes(whole_file[:end] + bytes(1024))
    assert main([str(tmp_path / "u")], box) == 1
    assert "it has no kernels" in capsys.readouterr().err
    assert not (box.firmware / "b").exists()


def test_a_card_of_the_first_layout_is_told(
    box: Places, secret: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted((box.firmware / "a").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (box.firmware / "a").rmdir()
    assert main([str(make(tmp_path / "u", secret))], box) == 1
    assert (
        "laid out as the first were, where a new kernel comes only by writing the card anew" in capsys.readouterr().err
    )
    box.kernel.write_text("6.13.0\n")  # the one that it has fits: only the system is taken
    assert main([str(make(tmp_path / "u", secret))], box) == 0
    assert not (box.firmware / "b").exists()


def test_the_firmware_starts_the_kernel_of_the_system_that_was_kept(box: Places) -> None:
    box.boot.write_text(box.boot.read_text().replace("booted=a", "booted=b").replace("trying=", "trying=b"))
    write_state(box.slot_state, SlotState(trying="b"))
    confirm.keep_system(box, "b")
    confirm.keep_kernel(box)
    assert (box.firmware / "config.txt").read_bytes() == CONFIG  # its files are not whole
    lay_out(box.firmware / "b", NEW)
    confirm.keep_kernel(box)
    assert read_state(box.slot_state) == SlotState(slot="b")
    text = (box.firmware / "config.txt").read_bytes()
    assert text == CONFIG.replace(b"os_prefix=a/", b"os_prefix=b/")
    assert text.count(b"os_prefix=b/") == 2
    before = (box.firmware / "config.txt").stat().st_mtime_ns
    confirm.keep_kernel(box)
    assert (box.firmware / "config.txt").stat().st_mtime_ns == before


def test_a_system_on_trial_does_not_change_what_the_firmware_starts(box: Places) -> None:
    box.boot.write_text(box.boot.read_text().replace("booted=a", "booted=b").replace("trying=", "trying=b"))
    write_state(box.slot_state, SlotState(trying="b"))
    confirm.keep_kernel(box)
    assert (box.firmware / "config.txt").read_bytes() == CONFIG


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 3000, b"os_prefix=\n", b"os_prefix=pi5/\n", b"#os_prefix=a/\n", b"x" * 70_000]
)
def test_a_config_txt_that_names_no_system_is_left_as_it_is(
    box: Places, secret: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (box.firmware / "config.txt").write_bytes(content)
    assert started_by_firmware(box) == ""
    assert not let_firmware_start(box, "b")
    assert (box.firmware / "config.txt").read_bytes() == content
    assert main([str(make(tmp_path / "u", secret))], box) == 1
    assert "os_prefix=" in capsys.readouterr().err
    assert not (box.firmware / "b").exists()


def test_where_the_kernel_of_what_runs_is_not_whole_the_other_is_left(
    box: Places, secret: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(box.firmware / "b", NEW)
    (box.firmware / "a/boot.txt").write_bytes(b"")
    before = contents(box.firmware)
    assert main([str(make(tmp_path / "u", secret))], box) == 1
    assert "damaged on the card" in capsys.readouterr().err
    assert contents(box.firmware) == before


LOADER = b"# Whose kernel, a or b\ndefault a.conf\ntimeout 0\n"


def test_the_loader_of_boards_with_uefi_is_told_as_well(box: Places) -> None:
    (box.firmware / "loader").mkdir()
    loader = box.firmware / "loader/loader.conf"
    loader.write_bytes(LOADER)
    assert let_firmware_start(box, "b")
    assert loader.read_bytes() == LOADER.replace(b"default a", b"default b")
    assert started_by_firmware(box) == "b"


def test_config_txt_never_says_what_only_it_has_been_told(box: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """Power fails between the two: the next start has to do it once more, for both."""
    (box.firmware / "loader").mkdir()
    loader = box.firmware / "loader/loader.conf"
    loader.write_bytes(LOADER)
    written = list[bytes]()

    def until_the_power_fails(handle: int, content: bytes, at: int) -> int:
        if written:
            raise OSError("no power")
        written.append(content)
        return write(handle, content, at)

    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", until_the_power_fails)
    with pytest.raises(OSError, match="no power"):
        let_firmware_start(box, "b")
    assert (loader.read_bytes() != LOADER, started_by_firmware(box)) == (True, "a")


@pytest.mark.parametrize("content", [b"", b"\xff" * 3000, b"default menu\n", b"#default a.conf\n", b"x" * 70_000])
def test_a_loader_that_somebody_has_changed_is_left_as_it_is(box: Places, content: bytes) -> None:
    (box.firmware / "loader").mkdir()
    (box.firmware / "loader/loader.conf").write_bytes(content)
    assert let_firmware_start(box, "b")
    assert (box.firmware / "loader/loader.conf").read_bytes() == content


def test_what_somebody_has_added_to_config_txt_stays(box: Places) -> None:
    added = b"\xef\xbb\xbf" + CONFIG.replace(b"\n", b"\r\n") + b"# mine, os_prefix=a/\r\ndtoverlay=x\r\n" * 40
    (box.firmware / "config.txt").write_bytes(added)
    assert let_firmware_start(box, "b")
    assert (box.firmware / "config.txt").read_bytes() == added.replace(b"\nos_prefix=a/", b"\nos_prefix=b/")


# --- another kernel in the place of the one that runs ---


def fdt(start: int = 8, command_line: bytes = b"console=x nr_cpus=1 quiet\0") -> bytes:
    """A flattened device tree with what a firmware says in /chosen; addresses take `start` bytes."""
    names, body = b"", b""

    def property_(name: bytes, value: bytes) -> bytes:
        nonlocal names
        at = len(names)
        names += name + b"\0"
        return struct.pack(">3I", 3, len(value), at) + value.ljust(-(-len(value) // 4) * 4, b"\0")

    body += struct.pack(">I", 1) + bytes(4) + property_(b"model", b"a board\0")
    body += struct.pack(">I", 1) + b"chosen\0\0"
    body += property_(b"bootargs", command_line)
    body += property_(b"linux,initrd-start", (0x4800_0000).to_bytes(start, "big"))
    body += property_(b"linux,initrd-end", (0x4900_0000).to_bytes(start, "big"))
    body += struct.pack(">I", 2) + struct.pack(">I", 1) + b"memory\0\0" + property_(b"linux,initrd-end", b"1234")
    body += struct.pack(">4I", 2, 4, 2, 9)
    head = struct.pack(">10I", 0xD00DFEED, 40 + 16 + len(body) + len(names), 56, 56 + len(body), 40, 17, 16, 0,
                       len(names), len(body))  # fmt: skip
    return head + bytes(16) + body + names


IOMEM = """\
09000000-09000fff : pl011@9000000
40000000-7fffffff : System RAM
  40210000-4291ffff : Kernel code
  42920000-42ebffff : reserved
  42ec0000-431fffff : Kernel data
  48000000-480f7fff : reserved
  78000000-7fffffff : reserved
80000000-80ffffff : System RAM
"""


@pytest.fixture
def startable(board: Places) -> Places:
    place = board.firmware / "b"
    place.mkdir()
    head = bytearray(3_000_000)
    struct.pack_into("<QQ", head, 8, 0, 5_000_000)
    head[56:60] = b"ARM\x64"
    (place / "vmlinuz").write_bytes(head)
    (place / "initrd.img").write_bytes(os.urandom(100_001))
    (board.root / "sys/firmware").mkdir(parents=True)
    (board.root / "sys/firmware/fdt").write_bytes(fdt())
    (board.root / "proc").mkdir()
    (board.root / "proc/iomem").write_text(IOMEM)
    return board


@pytest.mark.parametrize("cells", [4, 8])
def test_a_kernel_is_laid_out_where_nothing_is_reserved(startable: Places, cells: int) -> None:
    (startable.root / "sys/firmware/fdt").write_bytes(fdt(cells))
    segments, entry = prepare("b", "", startable.root)
    kernel, tree, stage, begin = segments
    assert kernel.address % ALIGNMENT == 0
    assert kernel.room >= 5_000_000
    assert entry == begin.address
    taken = sorted((one.address, one.address + one.room) for one in segments)
    for (_, end), (first, _) in itertools.pairwise(taken):
        assert end <= first
    free = free_memory(IOMEM)
    for first, end in taken:
        assert first % 4096 == 0
        assert any(low <= first and end <= high for low, high in free)
    said = tree.content
    assert stage.address.to_bytes(cells, "big") in said
    assert (stage.address + len(stage.content)).to_bytes(cells, "big") in said
    assert b"nr_cpus" not in said
    assert b"console=x           quiet\0" in said
    assert len(said) == len(fdt(cells))
    assert b"chosen\0" in stage.content
    assert b"boot=b\n" in stage.content
    assert struct.unpack("<2Q", begin.content[24:]) == (kernel.address, tree.address)


def test_reserved_memory_is_nobody_s() -> None:
    assert free_memory(IOMEM) == [
        (0x40000000, 0x42920000), (0x42EC0000, 0x48000000), (0x480F8000, 0x78000000), (0x80000000, 0x81000000)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("boot/firmware/b/vmlinuz", b"", "not a kernel"),
        ("boot/firmware/b/vmlinuz", bytes(4096), "not a kernel"),
        ("boot/firmware/b/vmlinuz", b"MZ" + bytes(54) + b"ARM\x64" + bytes(4096), "not a kernel"),
        ("sys/firmware/fdt", b"", "cannot be read"),
        ("sys/firmware/fdt", bytes(400), "no device tree"),
        ("sys/firmware/fdt", fdt()[:90], "cannot be read"),
        ("sys/firmware/fdt", fdt(5), "where the first stage lies"),
        ("sys/firmware/fdt", fdt().replace(b"linux,initrd-start", b"linux,initrd-stars"), "where the first stage lies"),
        ("proc/iomem", b"", "no room"),
        ("proc/iomem", b"40000000-400fffff : System RAM\n", "no room"),
    ],
)
def test_what_cannot_be_started_is_told(
    startable: Places, name: str, content: bytes, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (startable.root / name).write_bytes(content)
    with pytest.raises(NotStartable, match=says):
        prepare("b", "", startable.root)
    assert kernel_start.main("b", "", startable.root) == 1
    assert says in capsys.readouterr().out


@pytest.mark.parametrize(("slot", "directory"), [("c", ""), ("b", "../"), ("b", "/etc/"), ("", "")])
def test_only_kernels_of_the_card_are_started(startable: Places, slot: str, directory: str) -> None:
    with pytest.raises(NotStartable, match="no such kernel"):
        prepare(slot, directory, startable.root)


def test_missing_files_are_told(startable: Places, capsys: pytest.CaptureFixture[str]) -> None:
    (startable.firmware / "b/initrd.img").unlink()
    assert kernel_start.main("b", "", startable.root) == 1
    assert "initrd.img" in capsys.readouterr().out
    assert kernels.NAME.fullmatch("pi5/vmlinuz")
