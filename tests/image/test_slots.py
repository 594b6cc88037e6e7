"""The choice between the two systems: the first stage's script, and the board's reading of its file."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest
from clasp_board.slots import SIZE, SlotState, other, read_state, write_state
from support.needs import program

from image.initramfs import APPLETS

SCRIPT = Path(__file__).resolve().parents[2] / "image/initramfs/slots.sh"


@pytest.fixture(params=["sh", "busybox"], autouse=True)
def shell(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's shell and tools, and those that the first stage has."""
    if request.param == "busybox":
        busybox = program("busybox", "disk")
        tools = tmp_path / "tools"
        tools.mkdir()
        for applet in APPLETS:
            (tools / applet).symlink_to(busybox)
        monkeypatch.setenv("PATH", str(tools))


def boot(file: Path) -> str:
    """What the first stage does at a start: read, choose, write. Returns the system it starts."""
    program = f'. {SCRIPT}; slots_read {file}; slots_choose; [ $changed = no ] || slots_write {file}; echo "$boot"'
    done = subprocess.run(["sh", "-euc", program], text=True, capture_output=True, timeout=20, check=True)
    return done.stdout.strip()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "slot.txt"
    write_state(path, SlotState())
    return path


def test_a_new_card_starts_system_a_every_time_and_is_not_written(file: Path) -> None:
    before = file.read_bytes()
    assert [boot(file), boot(file)] == ["a", "a"]
    assert file.read_bytes() == before


@pytest.mark.parametrize("slot", ["a", "b"])
def test_a_try_is_started_once_and_then_given_up(file: Path, slot: str) -> None:
    write_state(file, SlotState(slot=slot).tried_next(other(slot)))
    assert boot(file) == other(slot)
    assert read_state(file) == SlotState(slot=slot, trying=other(slot))
    assert boot(file) == slot
    assert read_state(file) == SlotState(slot=slot, failed=other(slot))
    assert boot(file) == slot


def test_a_confirmed_try_stays(file: Path) -> None:
    write_state(file, SlotState().tried_next("b"))
    boot(file)
    write_state(file, read_state(file).confirmed("b"))
    assert [boot(file), boot(file)] == ["b", "b"]


def test_a_new_try_after_a_failed_one_is_tried(file: Path) -> None:
    write_state(file, SlotState(failed="b").tried_next("b"))
    assert boot(file) == "b"
    assert read_state(file).failed == ""


def test_a_try_of_what_runs_anyway_changes_nothing(file: Path) -> None:
    write_state(file, SlotState(slot="b", try_="b"))
    assert boot(file) == "b"
    assert read_state(file) == SlotState(slot="b")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * SIZE,
        b"slot=c\ntry=/etc\n",
        b"\xff\xfe" * 256,
        b"slot=$(reboot)\ntry=;b\nid=`x`\n",
        b"slot=\ntry=\ntrying=\nfailed=\n",
        bytes(range(256)) * 2,
    ],
)
def test_a_damaged_file_starts_system_a(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert boot(file) == "a"
    assert read_state(file).slot == "a"


def test_a_missing_file_starts_system_a(tmp_path: Path) -> None:
    assert boot(tmp_path / "nothing") == "a"
    assert read_state(tmp_path / "nothing") == SlotState()


def test_both_sides_write_the_same_fields_in_one_sector(file: Path) -> None:
    state = SlotState(slot="b", try_="a", id="0123456789abcdef0123456789abcdef")
    write_state(file, state)
    assert file.stat().st_size == SIZE
    assert read_state(file) == state
    assert boot(file) == "a"
    assert file.stat().st_size == SIZE
    assert read_state(file) == SlotState(slot="b", trying="a", id=state.id)


def test_text_that_windows_has_saved_again_is_read(file: Path) -> None:
    file.write_bytes(b"slot=b\r\ntry=a\r\n")
    assert boot(file) == "a"


def test_a_state_that_cannot_be_written_is_not_taken_for_written() -> None:
    program = f". {SCRIPT}; slots_read /nowhere; try=b; slots_choose; slots_write /dev/full"
    assert subprocess.run(["sh", "-uc", program], capture_output=True, timeout=20, check=False).returncode != 0


def test_what_is_started_instead_of_a_try_is_not_on_trial(file: Path) -> None:
    write_state(file, SlotState().tried_next("b"))
    program = f'. {SCRIPT}; slots_read {file}; slots_choose; slots_start_instead a; echo "$boot,$trying,$failed"'
    done = subprocess.run(["sh", "-euc", program], text=True, capture_output=True, timeout=20, check=True)
    assert done.stdout.strip() == "a,,b"


def test_a_file_that_an_editor_has_made_longer_can_be_written(file: Path) -> None:
    write_state(file, SlotState().tried_next("b"))
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n") + b"slot=b\r\n")
    assert [boot(file), boot(file)] == ["b", "a"]
    assert read_state(file) == SlotState(failed="b")


def test_the_state_leaves_the_script_in_one_piece(file: Path) -> None:
    """What writes it into the file takes the result of a single read; a datagram socket keeps single writes apart."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        program = f". {SCRIPT}; slots_read {file}; slots_text"
        subprocess.run(["sh", "-euc", program], stdout=theirs, timeout=20, check=True)
        ours.settimeout(5)
        assert b"\nid=\n" in ours.recv(SIZE)


def shell_says(program: str) -> str:
    done = subprocess.run(
        ["sh", "-uc", f". {SCRIPT}; {program}"], text=True, capture_output=True, timeout=20, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("content", "letter"),
    [
        ("os_prefix=a/\n[pi5]\nos_prefix=a/pi5/\n", "a"),
        ("x\r\n os_prefix = b/\r\n", "b"),
        ("#os_prefix=a/\n", ""),
        ("", ""),
    ],
)
def test_config_txt_says_whose_kernel_the_firmware_starts(tmp_path: Path, content: str, letter: str) -> None:
    path = tmp_path / "config.txt"
    path.write_bytes(content.encode())
    assert shell_says(f"slots_prefix {path}") == letter


def test_one_processor_is_asked_for_and_taken_back_in_one_sector(tmp_path: Path) -> None:
    path = tmp_path / "cmdline.txt"
    path.write_text("console=tty1 quiet panic=10\n")
    for _ in range(2):
        shell_says(f'slots_command_line {path} "$one_processor"')
        assert path.read_text().split() == ["console=tty1", "quiet", "panic=10", "nr_cpus=1"]
    assert path.stat().st_size == SIZE
    for _ in range(2):
        shell_says(f'slots_command_line {path} ""')
        assert path.read_text().split() == ["console=tty1", "quiet", "panic=10"]
    assert path.stat().st_size == SIZE


@pytest.mark.parametrize("content", ["", "\n", "x" * 5000])
def test_a_command_line_that_is_none_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "cmdline.txt"
    path.write_text(content)
    assert shell_says(f'slots_command_line {path} "$one_processor" || echo refused') == "refused"
    assert path.read_text() == content


def test_a_kernel_s_identity_is_whole_or_none(tmp_path: Path) -> None:
    path = tmp_path / "boot.txt"
    for content, said in (
        (f"id={'a1' * 16}\nrelease=6\n", "a1" * 16),
        ("id=a1\n", ""),
        ("", ""),
        ("id=$(reboot)\n", ""),
    ):
        path.write_text(content)
        assert shell_says(f"slots_identity {path}") == said
