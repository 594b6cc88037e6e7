"""What the loader of boards with UEFI finds on the boot partition; that it starts by it is tried in hw_tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from clasp_board.kernels import let_firmware_start
from clasp_board.places import Places

from image import efi
from image.efi import efi_files
from image.lock import read_lock


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    loader = tmp_path / "loader.efi"
    loader.write_bytes(b"MZ")
    monkeypatch.setattr(efi, "efi_loader", lambda packages, work: loader)
    found = efi_files(read_lock(), tmp_path)
    return {name: content if isinstance(content, bytes) else content.read_bytes() for name, content in found}


def test_the_loader_lies_where_uefi_looks(files: dict[str, bytes]) -> None:
    assert files["EFI/BOOT/BOOTAA64.EFI"] == b"MZ"
    assert sum(package.name == "systemd-boot-efi" for package in read_lock()) == 1


def test_each_system_has_an_entry_with_its_own_kernel(files: dict[str, bytes]) -> None:
    for slot in "ab":
        words = dict(line.split(" ", 1) for line in files[f"loader/entries/{slot}.conf"].decode().splitlines())
        assert (words["linux"], words["initrd"]) == (f"/{slot}/vmlinuz", f"/{slot}/initrd.img")
        assert "panic=10" in words["options"]
        assert "console=" not in words["options"]


def test_the_box_changes_the_letter_in_it(files: dict[str, bytes], board: Places) -> None:
    (board.firmware / "loader").mkdir()
    loader = board.firmware / "loader/loader.conf"
    loader.write_bytes(files["loader/loader.conf"])
    assert b"\ndefault a.conf\n" in loader.read_bytes()
    let_firmware_start(board, "b")
    assert loader.read_bytes() == files["loader/loader.conf"].replace(b"default a.conf", b"default b.conf")
