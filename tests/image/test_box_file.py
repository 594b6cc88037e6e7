"""The settings of one box taken by another from its card, and what somebody else may put into such a file."""

from __future__ import annotations

import io
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from clasp_board import box_file, start
from clasp_board.box_file import FILE, MOST_ENTRIES, make_box, read_box, take_over_box
from clasp_board.daemon_files import CONFIG
from clasp_board.places import Places
from clasp_board.problems import read_problems
from clasp_board.settings import HOST_NAME, KEYS, LARGEST_BYTES, NETWORK, WIFI, take_over
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import Authority

TOKEN, PASSWORD = "a-long-token-of-the-lighting-desk", "the password of the stage"
PERSON = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKJuwWZfbF1lU3mFoHkYvJ1vXvLDOXzGTzAzdQdGDmbG anna@laptop"
GOOD = (KEYS, f"{PERSON}\n".encode())
SCENE = '[scene.dark]\n"/stage/lamp/1" = 0.0\n'
FILES = {
    HOST_NAME: "stage-left\n",
    WIFI: f"country = DE\nname = Stage\npassword = {PASSWORD}\naddress = 10.0.9.5/24\ngateway = 10.0.9.1\n",
    NETWORK: "address = 10.0.0.5/24\ngateway = 10.0.0.1\nntp = 10.0.0.1\n",
    KEYS: f"{PERSON}\n",
    CONFIG: 'name = "stage left"\n[tls]\ncertificate = "tls/box.pem"\nkey = "tls/box.key"\n[security]\n'
    'mode = "authenticated"\n[[security.token]]\n'
    f'token = "{TOKEN}"\nsubject = "desk"\nscopes = ["read:/**"]\n',
}  # fmt: skip


@pytest.fixture
def other(tmp_path: Path, board: Places) -> Places:
    """Another board with a new card."""
    places = Places(tmp_path / "other")
    for directory in (places.firmware, places.data, places.run, places.accepted, places.root / "usr/bin"):
        directory.mkdir(parents=True)
    (places.root / "usr/bin/clasp-edge").symlink_to(board.root / "usr/bin/clasp-edge")
    return places


@pytest.fixture
def first(board: Places) -> Places:
    """A box that has taken its settings over."""
    for folder in ("tls", "show"):
        (board.firmware / folder).mkdir()
    certificate, key = Authority(board.root).issue("stage-left.local")
    texts = {**FILES, "tls/box.pem": certificate.read_text(), "tls/box.key": key.read_text(), "show/scenes.toml": SCENE}
    for name, text in texts.items():
        (board.firmware / name).write_text(text)
    assert set(take_over(board, persistent=True)) == set(texts)
    (board.data / "clasp-edge").mkdir()
    (board.data / "clasp-edge/settings.toml").write_text('name = "by the page"\nlimits.max_sessions = 77\n')
    assert read_problems(board) == []
    return board


def packed(*files: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as box:
        for name, content in files:
            box.writestr(name, content)
    return target.getvalue()


def taken(places: Places, raw: bytes) -> dict[str, str]:
    (places.firmware / FILE).write_bytes(raw)
    take_over_box(places, persistent=True)
    return take_over(places, persistent=True)


def test_with_secrets_the_other_box_is_the_same_but_for_its_own_things(first: Places, other: Places) -> None:
    found = taken(other, make_box(first, with_secrets=True))
    assert read_problems(other) == []
    assert set(found) == {WIFI, NETWORK, KEYS, CONFIG, "tls/box.pem", "tls/box.key", "show/scenes.toml"}
    assert PASSWORD in found[WIFI]
    assert TOKEN in found[CONFIG]
    assert found["show/scenes.toml"] == SCENE
    assert "\n# of the other box: address = 10.0.0.5/24\n" in "\n" + found[NETWORK]
    assert "ntp = 10.0.0.1" in found[NETWORK]
    assert "\n# of the other box: address = 10.0.9.5/24\n" in found[WIFI]
    assert found[CONFIG].startswith('# of the other box: name = "stage left"\n')
    page = (other.data / "clasp-edge/settings.toml").read_text()
    assert page == '# of the other box: name = "by the page"\nlimits.max_sessions = 77\n'


def test_no_secret_is_left_on_the_card_it_came_by(first: Places, other: Places) -> None:
    taken(other, make_box(first, with_secrets=True))
    assert not (other.firmware / FILE).exists()
    left = b"".join(path.read_bytes() for path in other.firmware.rglob("*") if path.is_file())
    for secret in (TOKEN, PASSWORD, "PRIVATE KEY"):
        assert secret.encode() not in left


def test_without_secrets_none_is_in_it_and_the_other_box_asks_for_them(first: Places, other: Places) -> None:
    raw = make_box(first, with_secrets=False)
    with zipfile.ZipFile(io.BytesIO(raw)) as box:
        inside = b"".join(box.read(name) for name in box.namelist())
        said = box.read("README.txt").decode()
    for secret in (TOKEN, PASSWORD, "PRIVATE KEY"):
        assert secret.encode() not in inside
    assert b"# of the other box: name" in inside
    assert f"Secrets are left out of: {WIFI}, {CONFIG}, tls/box.key" in said
    config = (
        (first.accepted / CONFIG).read_text().replace('[tls]\ncertificate = "tls/box.pem"\nkey = "tls/box.key"\n', "")
    )
    (first.accepted / CONFIG).write_text(config)
    found = taken(other, make_box(first, with_secrets=False))
    assert set(found) == {WIFI, NETWORK, KEYS, CONFIG, "tls/box.pem", "show/scenes.toml"}
    problems = "\n".join(read_problems(other))
    assert "does not know the password of Stage" in problems
    assert TOKEN not in found[CONFIG]


def test_the_same_settings_give_the_same_file(first: Places) -> None:
    assert make_box(first, with_secrets=True) == make_box(first, with_secrets=True)


def test_a_box_without_settings_gives_one_that_says_so(board: Places, other: Places) -> None:
    taken(other, make_box(board, with_secrets=True))
    assert any("has no settings of a box in it" in line for line in read_problems(other))


def test_what_somebody_has_written_on_the_card_meanwhile_stays(first: Places, other: Places) -> None:
    (other.firmware / NETWORK).write_text("address = 10.0.0.77/24\n")
    (other.firmware / WIFI).write_text("# nothing\n")
    found = taken(other, make_box(first, with_secrets=True))
    assert "10.0.0.77" in found[NETWORK]
    assert PASSWORD in found[WIFI]
    assert any(NETWORK in line and "somebody has written it" in line for line in read_problems(other))


def test_what_the_box_had_read_already_is_replaced(first: Places, other: Places) -> None:
    (other.firmware / KEYS).write_text(f"{PERSON.replace('anna', 'bert')}\n")
    take_over(other, persistent=True)
    assert "anna" in taken(other, make_box(first, with_secrets=True))[KEYS]


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_texts_of_any_editor_are_taken(board: Places, ends: bytes, mark: bytes) -> None:
    found = taken(board, packed((KEYS, mark + b"# who" + ends + PERSON.encode() + ends)))
    assert PERSON in found[KEYS]
    assert read_problems(board) == []


def test_an_empty_file_in_it_withdraws_nothing(first: Places) -> None:
    before = take_over(first, persistent=True)
    after = taken(first, packed((KEYS, f"{PERSON}\n".encode()), (NETWORK, b""), ("show/scenes.toml", b"")))
    assert after == before


def test_an_empty_box_file_is_a_card_that_was_pulled_early(board: Places) -> None:
    taken(board, b"")
    assert any("pulled too early" in line for line in read_problems(board))


def test_each_text_is_judged_as_if_it_had_been_typed(board: Places) -> None:
    found = taken(board, packed((KEYS, f"{PERSON}\n".encode()), (WIFI, b"country = Germany\nname = x\n")))
    assert set(found) == {KEYS}
    assert any(line.startswith(WIFI) for line in read_problems(board))


def test_page_settings_that_are_no_toml_are_named(board: Places) -> None:
    taken(board, packed(("settings.toml", b"[[[")))
    assert not (board.data / "clasp-edge/settings.toml").exists()
    assert any("settings.toml" in line and "not used" in line for line in read_problems(board))


def test_where_nothing_can_be_kept_it_waits(first: Places, other: Places) -> None:
    (other.firmware / FILE).write_bytes(make_box(first, with_secrets=True))
    take_over_box(other, persistent=False)
    assert [path.name for path in other.firmware.iterdir()] == [FILE]


def _entry(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    return entry


def _bomb() -> bytes:
    """Names a size of ten bytes for what unpacks to 64 MiB."""
    raw = bytearray(packed((KEYS, bytes(64 << 20))))
    size = struct.pack("<I", 64 << 20)
    while (at := raw.find(size)) >= 0:
        raw[at : at + 4] = struct.pack("<I", 10)
    return bytes(raw)


def _damaged() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as box:
        box.writestr(*GOOD)
    return target.getvalue().replace(b"anna@", b"eve_@")


def _encrypted() -> bytes:
    raw = bytearray(packed((KEYS, b"x")))
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    return bytes(raw)


HOSTILE = {
    "a path to outside": packed(GOOD, ("../../root/.ssh/authorized_keys", b"x")),
    "an absolute path": packed(GOOD, ("/etc/passwd", b"x")),
    "a path with backslashes": packed(GOOD, ("show\\..\\..\\x.toml", b"x")),
    "a path through a folder": packed(GOOD, ("show/../slot.txt", b"x")),
    "a deeper folder": packed(GOOD, ("show/a/b.toml", b"x")),
    "a file of the firmware": packed(GOOD, ("config.txt", b"x")),
    "the state of the systems": packed(GOOD, ("slot.txt", b"slot=b")),
    "a request to erase": packed(GOOD, ("erase-data.txt", b"")),
    "Imager's script": packed(GOOD, ("firstrun.sh", b"x")),
    "another one inside": packed(GOOD, (FILE, b"x")),
    "a symbolic link": packed(GOOD, (_entry(WIFI, stat.S_IFLNK | 0o777), b"/etc/shadow")),
    "a device": packed(GOOD, (_entry(WIFI, stat.S_IFCHR | 0o600), b"x")),
    "a file twice": packed(GOOD, ("ssh-keyz.txt", b"x")).replace(b"ssh-keyz.txt", KEYS.encode()),
    "a name with a zero": packed(GOOD).replace(b"ssh-keys.txt", b"ssh-key\0.txt"),
    "too many": packed(*((f"show/{n}.toml", b"x") for n in range(MOST_ENTRIES + 1))),
    "one too large": packed((KEYS, bytes(LARGEST_BYTES + 1))),
    "all too large": packed(*((f"show/{n}.toml", b"#" * LARGEST_BYTES) for n in range(17))),
    "a bomb that lies": _bomb(),
    "a password": _encrypted(),
    "no text": packed((KEYS, b"\x00\x01\x02")),
    "no zip": b"x" * 1000,
    "cut short": packed(GOOD)[:-10],
    "a wrong checksum": _damaged(),
}  # fmt: skip


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_what_is_hostile_is_refused_as_a_whole_and_named(board: Places, hostile: bytes) -> None:
    found = taken(board, hostile)
    assert found == {}
    assert [path.name for path in board.firmware.iterdir()] == [FILE]
    (problem,) = read_problems(board)
    assert problem.startswith(f"{FILE}: ")
    assert problem.endswith("Nothing of it is used.")


def test_a_bomb_is_never_unpacked(tmp_path: Path) -> None:
    """Of 64 MiB no more than the largest file of the card comes into memory."""
    (tmp_path / "bomb").write_bytes(HOSTILE["a bomb that lies"])
    program = (
        "import sys, tracemalloc; sys.path.insert(0, sys.argv[1])\n"
        "from clasp_board.box_file import read_box\n"
        "raw = open(sys.argv[2], 'rb').read(); tracemalloc.start()\n"
        "try: read_box(raw)\n"
        "except ValueError: print(tracemalloc.get_traced_memory()[1])\n"
    )
    board_programs = str(Path(box_file.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program, board_programs, tmp_path / "bomb"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert int(done.stdout) < 4 * LARGEST_BYTES


def test_what_laptops_put_into_it_is_passed_over(board: Places) -> None:
    found = taken(board, packed(("__MACOSX/._wifi.txt", b"\0\1"), (".DS_Store", b"\0"), ("show/", b""), GOOD))
    assert set(found) == {KEYS}
    assert read_problems(board) == []


@pytest.mark.parametrize("name", ["clasp-edge-box (1).zip", "clasp-edge-box"])
def test_one_with_another_name_is_not_passed_over_silently(board: Places, name: str) -> None:
    (board.firmware / name).write_bytes(b"")
    take_over_box(board, persistent=True)
    assert any(f'"{name}" is not read' in line for line in read_problems(board))


@given(st.binary(max_size=400), st.integers(0, 500), st.binary(min_size=1, max_size=8))
def test_whatever_bytes_come_it_is_taken_or_refused(junk: bytes, at: int, change: bytes) -> None:
    good = packed(GOOD, (WIFI, b"country = DE\nname = x\n"))
    for raw in (junk, good[:at] + change + good[at + len(change) :], junk + good):
        try:
            names = read_box(raw).keys()
            assert all(name in box_file.TAKEN or name.startswith(("tls/", "show/")) for name in names)
        except ValueError as error:
            assert str(error)


def test_the_start_takes_it(first: Places, other: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "mount_disks", lambda places: True)
    monkeypatch.setattr(start, "_put_in_place", lambda *words: None)
    (other.firmware / FILE).write_bytes(make_box(first, with_secrets=True))
    (other.root / "etc").mkdir()
    assert start.start(other) == 0
    assert TOKEN in (other.daemon_directory / "conf.d/50-board.toml").read_text()
    assert not (other.firmware / FILE).exists()
