"""Updates: made as `make bundle` does, installed as clasp-edge-update does, onto files in place of partitions."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from clasp_board.bundle import CUT_SHORT, MANIFEST, ROOT, SIGNATURE, Manifest, version_key, write_bundle
from clasp_board.places import Places
from clasp_board.slots import SlotState, read_state, write_state
from clasp_board.update import main
from support.daemon import Daemon
from support.live import eventually
from support.updates import board_program, report, send

from clasp_edge.console.upload import VARIABLE
from image import keys

EPOCH = 1_700_000_000
RUNNING = Manifest("clasp-edge-arm64", "0.9.1", EPOCH, "6.12.0 7.3.1", 0, "")
SLOT_BYTES = 1 << 20


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(keys, "WORK", tmp_path / "work")
    path = tmp_path / "maker.key"
    keys.make_pair(path)
    return path


@pytest.fixture
def box(board: Places, secret: Path) -> Places:
    """A box that runs version 0.9.1 from system a."""
    card = board.root / "card"
    for number in (2, 3):
        Path(f"{card}{number}").write_bytes(b"old" + bytes(SLOT_BYTES - 3))
    board.boot.write_text(f"booted=a\nslot=a\ntrying=\nfailed=\ndisk={card}\npartition={card}\n")
    board.release.parent.mkdir(parents=True)
    board.release.write_text(
        json.dumps({"board": RUNNING.board, "version": RUNNING.version, "built": EPOCH, "kernels": RUNNING.kernels})
    )
    board.kernel.parent.mkdir(parents=True)
    board.kernel.write_text("6.12.0\n")
    shutil.copyfile(secret.with_suffix(".pub"), board.update_key)
    write_state(board.slot_state, SlotState())
    return board


def make(path: Path, secret: Path, root: bytes | None = None, **changes: object) -> Path:
    """An update to 0.10.0 with these changes to its manifest."""
    root = os.urandom(300_000) if root is None else root
    (path.parent / "root").write_bytes(root)
    manifest = replace(RUNNING, version="0.10.0", root_bytes=len(root), root_sha256=hashlib.sha256(root).hexdigest())
    raw = replace(manifest, **changes).as_json()  # type: ignore[arg-type]
    write_bundle(path, raw, keys.sign(raw, "test", secret), path.parent / "root", EPOCH)
    return path


def install(box: Places, file: Path | str, *options: str) -> int:
    return main([str(file), *options], box)


def slot(box: Places, number: int) -> bytes:
    return (box.root / f"card{number}").read_bytes()


def test_an_update_goes_into_the_other_system_and_is_tried_once(box: Places, secret: Path, tmp_path: Path) -> None:
    root = os.urandom(300_000)
    file = make(tmp_path / "u", secret, root)
    assert install(box, file) == 0
    assert slot(box, 3)[: len(root)] == root
    assert slot(box, 2).startswith(b"old")
    assert read_state(box.slot_state) == SlotState(try_="b")


def test_from_system_b_it_goes_into_a(box: Places, secret: Path, tmp_path: Path) -> None:
    box.boot.write_text(box.boot.read_text().replace("=a\n", "=b\n"))
    write_state(box.slot_state, SlotState(slot="b"))
    assert install(box, make(tmp_path / "u", secret)) == 0
    assert slot(box, 3).startswith(b"old")
    assert read_state(box.slot_state) == SlotState(slot="b", try_="a")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"board": "other-board"}, "another kind of box"),
        ({"version": "0.9.0"}, "it is older (0.9.0) than what the box has (0.9.1)"),
        ({"version": "0.9.1", "built": EPOCH - 1}, "it is older"),
        ({"kernels": "6.13.0 7.3.4"}, "is for the kernels 6.13.0 7.3.4, and this box starts 6.12.0"),
        ({"root_bytes": SLOT_BYTES + 1}, "too large"),
        ({"root_bytes": 12}, "not an update"),
        ({"root_sha256": "0" * 64}, "the file is damaged"),
        ({"built": "yesterday"}, "not an update"),
    ],
)
def test_what_does_not_fit_is_refused(
    box: Places, secret: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object], says: str
) -> None:
    assert install(box, make(tmp_path / "u", secret, **changes)) == 1
    said = capsys.readouterr().err
    assert says in said
    assert said.startswith("Not installed: ")
    assert said.count("\n") == 1
    assert read_state(box.slot_state) == SlotState()
    assert slot(box, 2).startswith(b"old")


def test_an_older_one_is_installed_if_that_is_wanted(box: Places, secret: Path, tmp_path: Path) -> None:
    assert install(box, make(tmp_path / "u", secret, version="0.1"), "--allow-older") == 0
    assert read_state(box.slot_state).try_ == "b"


def test_the_same_version_again_is_installed(box: Places, secret: Path, tmp_path: Path) -> None:
    assert install(box, make(tmp_path / "u", secret, version="0.9.1")) == 0


@pytest.mark.parametrize("kept", [0, 1, 511, 512, 1000, 1536, 2048, 2600, 100_000, 302_000])
def test_a_file_that_was_cut_short_is_refused(
    box: Places, secret: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: int
) -> None:
    file = make(tmp_path / "u", secret)
    os.truncate(file, kept)
    assert install(box, file) == 1
    assert "Please copy it again" in capsys.readouterr().err
    assert read_state(box.slot_state) == SlotState()


def test_any_changed_byte_is_noticed(box: Places, secret: Path, tmp_path: Path) -> None:
    file = make(tmp_path / "u", secret)
    whole = file.read_bytes()
    # Within each of the three parts; the padding of the archive is nobody's content.
    for offset in (512 + 20, 512 + 200, 2048 + 30, 2048 + 100, 3072 + 512, len(whole) - 20_000):
        file.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
        assert install(box, file) == 1, offset
        assert read_state(box.slot_state) == SlotState()


def test_the_signature_of_somebody_else_is_refused(
    box: Places, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.key"
    keys.make_pair(other)
    assert install(box, make(tmp_path / "u", other)) == 1
    assert "signature is not from the maker" in capsys.readouterr().err
    assert slot(box, 3).startswith(b"old")


def test_an_unsigned_one_is_refused(
    box: Places, secret: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = make(tmp_path / "u", secret)
    unsigned = tmp_path / "unsigned"
    with tarfile.open(signed) as source, tarfile.open(unsigned, "w", format=tarfile.USTAR_FORMAT) as target:
        for member in source:
            if member.name != SIGNATURE:
                target.addfile(member, source.extractfile(member))
    assert install(box, unsigned) == 1
    assert "it is not signed" in capsys.readouterr().err
    with tarfile.open(unsigned, "w", format=tarfile.USTAR_FORMAT) as target:
        for name in (MANIFEST, SIGNATURE, ROOT):
            target.addfile(tarfile.TarInfo(name), io.BytesIO())
    assert install(box, unsigned) == 1
    assert slot(box, 3).startswith(b"old")


@pytest.mark.parametrize("content", [b"", b"hello", os.urandom(5000), bytes(10240), b"PK\x03\x04" + bytes(600)])
def test_what_is_no_update_is_refused(
    box: Places, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (tmp_path / "u").write_bytes(content)
    assert install(box, tmp_path / "u") == 1
    assert "not an update for clasp-edge" in capsys.readouterr().err


def test_a_missing_file_is_named(box: Places, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert install(box, tmp_path / "nowhere") == 1
    said = capsys.readouterr().err
    assert "nowhere cannot be read: No such file" in said
    assert "worn out" not in said


def test_a_system_that_is_on_trial_is_not_written_over(box: Places, secret: Path, tmp_path: Path) -> None:
    box.boot.write_text(box.boot.read_text().replace("trying=", "trying=a"))
    assert install(box, make(tmp_path / "u", secret)) == 1
    assert read_state(box.slot_state) == SlotState()


@pytest.mark.parametrize("state", [SlotState(slot="a"), SlotState(slot="a", trying="a", failed="b")])
def test_where_the_chosen_system_was_damaged_the_update_in_its_place_is_on_trial(
    box: Places, secret: Path, tmp_path: Path, state: SlotState
) -> None:
    """System b runs because a could not be read: a's state still says a, and it must be possible to go back to b."""
    write_state(box.slot_state, state)
    box.boot.write_text(box.boot.read_text().replace("booted=a", "booted=b"))
    assert install(box, make(tmp_path / "u", secret)) == 0
    assert read_state(box.slot_state) == SlotState(slot="b", try_="a")


def test_a_failed_second_update_takes_the_first_one_s_try_back(box: Places, secret: Path, tmp_path: Path) -> None:
    assert install(box, make(tmp_path / "u", secret)) == 0
    damaged = make(tmp_path / "v", secret, root_sha256="0" * 64)
    assert install(box, damaged) == 1
    assert read_state(box.slot_state) == SlotState()


def test_versions_are_compared_as_numbers() -> None:
    assert version_key("0.10.0") > version_key("0.9.9") > version_key("0.9")
    assert CUT_SHORT.endswith("copy it again")


def test_the_same_parts_give_the_same_bytes(secret: Path, tmp_path: Path) -> None:
    raw = RUNNING.as_json()
    (tmp_path / "root").write_bytes(b"root")
    for name in ("one", "two"):
        write_bundle(tmp_path / name, raw, b"signature", tmp_path / "root", EPOCH)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_second_key_is_believed_as_well(
    box: Places, secret: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second, stranger = tmp_path / "second.key", tmp_path / "stranger.key"
    for key in (second, stranger):
        keys.make_pair(key)
    update = make(tmp_path / "u", second)
    assert install(box, update) == 1
    shutil.copyfile(second.with_suffix(".pub"), box.update_key.with_name("recovery.pub"))
    assert install(box, make(tmp_path / "s", stranger)) == 1
    assert capsys.readouterr().err.count("signature is not from the maker") == 2
    assert install(box, update) == 0


def test_a_key_that_is_made_by_itself_outlives_the_checkout_and_marks_what_it_signs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("IMAGE_KEY", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(keys, "WORK", tmp_path / "work")
    made = keys.secret_key()
    assert tmp_path / "home" in made.parents
    assert made.parent.stat().st_mode & 0o077 == 0
    assert "TEST BUILD" in capsys.readouterr().out
    assert keys.is_test()
    assert keys.secret_key().read_bytes() == made.read_bytes()
    monkeypatch.setenv("IMAGE_KEY", str(made))
    assert not keys.is_test()
    assert keys.secret_key() == made
    assert "TEST BUILD" not in capsys.readouterr().out.split("\n")[-1]


def test_a_key_of_an_earlier_version_is_taken_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGE_KEY", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(keys, "WORK", tmp_path / "work")
    (tmp_path / "work/keys").mkdir(parents=True)
    keys.make_pair(tmp_path / "work/keys/update.key")
    assert keys.secret_key().read_bytes() == (tmp_path / "work/keys/update.key").read_bytes()
    assert keys.public_key().read_bytes() == (tmp_path / "work/keys/update.pub").read_bytes()


@pytest.mark.parametrize("content", [None, "untrusted comment: minisign encrypted secret key\nRWR\n"])
def test_a_recovery_key_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    path = tmp_path / "recovery.pub"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("IMAGE_RECOVERY_KEY", str(path))
    with pytest.raises(SystemExit, match="IMAGE_RECOVERY_KEY"):
        keys.recovery_key()


def test_by_the_page_it_is_installed_as_well(
    box: Places, secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = os.urandom(900_000)
    file = make(tmp_path / "u", secret, root)
    with board_program(box.root) as path:
        monkeypatch.setenv(VARIABLE, str(path))
        config = '[security]\nmode = "authenticated"\n[[security.token]]\ntoken = "all"\nscopes = ["admin:/**"]\n'
        with Daemon(config=config) as daemon:
            send(daemon, file.read_bytes())
            eventually(lambda: report(daemon)["state"] == "done")
            assert "Version 0.10.0 is installed" in report(daemon)["said"]
    assert slot(box, 3)[: len(root)] == root
    assert read_state(box.slot_state) == SlotState(try_="b")
