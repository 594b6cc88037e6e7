"""The files on the card: right ones are taken over, wrong ones named and left alone, secrets taken off the card."""

from __future__ import annotations

from pathlib import Path

import pytest
from clasp_board import settings
from clasp_board.places import Places
from clasp_board.problems import FILE as PROBLEMS
from clasp_board.problems import publish_problems, read_problems
from clasp_board.secrets import MARK
from clasp_board.settings import CONFIG, HOST_NAME, KEYS, NETWORK, WIFI, take_over
from clasp_board.start import start

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKJuwWZfbF1lU3mFoHkYvJ1vXvLDOXzGTzAzdQdGDmbG anna@laptop"
TOKENS = (
    '[security]\nmode = "authenticated"\n[[security.token]]\ntoken = "first secret"\nscopes = ["read:/**"]\n'
    "[[security.token]]\ntoken = 'second secret' # desk\nscopes = [\"write:/**\"]\n"
)
TEMPLATES = Path(__file__).resolve().parents[2] / "image/boot"


def put(board: Places, name: str, content: str | bytes) -> Path:
    path = board.firmware / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_the_card_as_it_is_flashed_asks_for_nothing(board: Places) -> None:
    for template in TEMPLATES.iterdir():
        put(board, template.name, template.read_bytes().replace(b"\n", b"\r\n"))
    assert take_over(board, persistent=True) == {}
    assert read_problems(board) == []


def test_the_examples_on_the_card_are_right_when_the_hash_is_taken_away(board: Places) -> None:
    for name in (HOST_NAME, WIFI, NETWORK, CONFIG):
        lines = (TEMPLATES / name).read_text().splitlines()
        put(
            board,
            name,
            "\n".join(line[1:] if line[:1] == "#" and line[1:2] not in ("", " ") else line for line in lines),
        )
    assert set(take_over(board, persistent=True)) == {HOST_NAME, WIFI, NETWORK, CONFIG}
    assert read_problems(board) == []


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (HOST_NAME, "stage left", "cannot be a name"),
        (HOST_NAME, "a\nb", "only one line"),
        (HOST_NAME, b"\x00\x01\x02", "not a text file"),
        (HOST_NAME, b"caf\xe9", "not a text file"),
        (WIFI, "name = Stage\npassword = long enough", "country"),
        (WIFI, "country = DE\nname = Stage\npassword = short", "line 3"),
        (WIFI, "country = Germany\nname = x", "two letters"),
        (WIFI, "country = DE\nssid = x", "line 2"),
        (NETWORK, "address = 192.168.1.20", "192.168.1.20/24"),
        (NETWORK, "address = 192.168.1.20/24\ngateway = 192.168.1.300", "line 2"),
        (NETWORK, "gateway = 192.168.1.1", "missing"),
        (KEYS, "-----BEGIN OPENSSH PRIVATE KEY-----", "private key"),
        (KEYS, KEY[:40], "line 1"),
        (KEYS, f"{KEY}\nhello", "line 2"),
        (CONFIG, "[mqtt\n", "line 1"),
        (CONFIG, "[mqtt]\nlisten = 7\n", "mqtt.listen"),
        (CONFIG, "nmae = 'x'\n", "nmae"),
        (CONFIG, b"\xff" * 5000, "not a text file"),
        (CONFIG, "#" * (settings.LARGEST_BYTES + 1), "too large"),
    ],
)
def test_a_wrong_file_is_named_and_what_was_before_stays(
    board: Places, name: str, content: str | bytes, says: str
) -> None:
    before = {HOST_NAME: "old", WIFI: "country = DE\nname = Old", NETWORK: "address = 10.0.0.1/8", KEYS: KEY}
    right = before.get(name, "name = 'old'\n")
    put(board, name, right)
    assert take_over(board, persistent=True) == {name: right}
    put(board, name, content)
    for _start in range(2):
        assert take_over(board, persistent=True) == {name: right}
    (problem,) = read_problems(board)
    assert problem.startswith(f"{name}: ")
    assert says in problem
    assert problem.endswith("The box goes on with what it had before.")
    assert str(board.root) not in problem


def test_a_wrong_file_on_a_new_box_leaves_it_without(board: Places) -> None:
    put(board, CONFIG, "[mqtt]\nlisten = 7\n")
    assert take_over(board, persistent=True) == {}
    assert read_problems(board)[0].endswith("The box goes on without it.")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_text_is_read_as_any_editor_writes_it(board: Places, encoding: str) -> None:
    put(board, HOST_NAME, "# Grüße\r\nStage-Left.local\r\n".encode(encoding))
    take_over(board, persistent=True)
    assert read_problems(board) == []
    assert (board.accepted / HOST_NAME).read_text() == "# Grüße\nStage-Left.local\n"


def test_secrets_go_into_the_box_and_off_the_card(board: Places) -> None:
    config = put(board, CONFIG, TOKENS.replace("\n", "\r\n"))
    wifi = put(board, WIFI, "country = DE\nname = Stage\npassword = very secret\n")
    in_force = take_over(board, persistent=True)
    assert in_force[CONFIG] == TOKENS
    assert "very secret" in in_force[WIFI]
    for file in (config, wifi):
        assert b"secret" not in file.read_bytes().replace(b"wifi", b"")
        assert MARK.encode() in file.read_bytes()
    assert b"# desk" in config.read_bytes()
    assert config.read_bytes().count(b"\r\n") == TOKENS.count("\n")
    assert (board.accepted / CONFIG).stat().st_mode & 0o077 == 0
    assert take_over(board, persistent=True) == in_force
    assert read_problems(board) == []


def test_a_file_without_its_secrets_can_be_edited(board: Places) -> None:
    config = put(board, CONFIG, TOKENS)
    take_over(board, persistent=True)
    config.write_text(config.read_text() + '[mqtt]\nlisten = "off"\n')
    in_force = take_over(board, persistent=True)
    assert "first secret" in in_force[CONFIG]
    assert "second secret" in in_force[CONFIG]
    assert 'listen = "off"' in in_force[CONFIG]
    assert "secret" not in config.read_text()


def test_a_secret_that_the_box_has_lost_lets_nobody_in(board: Places) -> None:
    put(board, CONFIG, TOKENS.replace("first secret", MARK))
    in_force = take_over(board, persistent=True)
    assert MARK not in in_force[CONFIG]
    assert "security.token[1].token" in read_problems(board)[0]


def test_secrets_written_in_another_way_take_the_whole_file_off_the_card(board: Places) -> None:
    config = put(
        board, CONFIG, '[security]\nmode = "authenticated"\ntoken = [{ token = "hidden", scopes = ["read:/**"] }]\n'
    )
    assert "hidden" in take_over(board, persistent=True)[CONFIG]
    assert "hidden" not in config.read_text()
    assert "hidden" in take_over(board, persistent=True)[CONFIG]


def test_without_a_data_partition_settings_are_used_and_stay_on_the_card(board: Places) -> None:
    config = put(board, CONFIG, TOKENS)
    assert take_over(board, persistent=False) == {CONFIG: TOKENS}
    assert config.read_text() == TOKENS
    assert not (board.accepted / CONFIG).exists()


def test_an_emptied_file_takes_the_setting_back(board: Places) -> None:
    put(board, KEYS, KEY)
    assert KEYS in take_over(board, persistent=True)
    put(board, KEYS, "# nobody\n")
    assert take_over(board, persistent=True) == {}
    (board.firmware / KEYS).unlink()
    assert take_over(board, persistent=True) == {}


def test_a_file_that_is_gone_changes_nothing(board: Places) -> None:
    put(board, HOST_NAME, "left")
    take_over(board, persistent=True)
    (board.firmware / HOST_NAME).unlink()
    assert take_over(board, persistent=True) == {HOST_NAME: "left"}


@pytest.mark.parametrize("name", ["clasp-edge.toml.txt", "hostname", "wifi.txt.txt", "SSH-KEYS"])
def test_a_name_that_a_laptop_has_changed_is_pointed_out(board: Places, name: str) -> None:
    put(board, name, "x")
    take_over(board, persistent=True)
    (problem,) = read_problems(board)
    assert f'"{name}" is not read' in problem


def test_problems_are_written_to_the_card_and_taken_away_again(board: Places) -> None:
    put(board, HOST_NAME, "stage left")
    start(board)
    text = (board.firmware / PROBLEMS).read_text()
    assert "cannot be a name" in text
    assert "stage left" in (board.root / "run/issue.d/50-clasp-edge.issue").read_text()
    board.problems.unlink()
    put(board, HOST_NAME, "stage-left")
    take_over(board, persistent=True)
    publish_problems(board)
    assert not (board.firmware / PROBLEMS).exists()
