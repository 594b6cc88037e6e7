"""The files on the card: right ones are taken over, wrong ones named and left alone, secrets taken off the card."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from clasp_board import confirm, settings, system, wireless
from clasp_board.daemon_files import CONFIG
from clasp_board.places import Places
from clasp_board.problems import FILE as PROBLEMS
from clasp_board.problems import publish_problems, read_problems
from clasp_board.secrets import MARK
from clasp_board.settings import HOST_NAME, KEYS, NETWORK, WIFI, take_over
from clasp_board.start import start
from support.certificates import Authority

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKJuwWZfbF1lU3mFoHkYvJ1vXvLDOXzGTzAzdQdGDmbG anna@laptop"
TOKENS = (
    '[security]\nmode = "authenticated"\n[[security.token]]\ntoken = "first secret token"\nscopes = ["read:/**"]\n'
    "[[security.token]]\ntoken = 'second secret token' # desk\nscopes = [\"write:/**\"]\n"
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
    (board.firmware / "tls").mkdir()
    certificate, key = Authority(board.root).issue("box")
    put(board, "tls/box.pem", certificate.read_text())
    put(board, "tls/box.key", key.read_text())
    tls = {"tls/box.pem", "tls/box.key"}
    for name in (HOST_NAME, WIFI, NETWORK, CONFIG):
        lines = (TEMPLATES / name).read_text().splitlines()
        text = "\n".join(line[1:] if line[:1] == "#" and line[1:2] not in ("", " ") else line for line in lines)
        put(board, name, text.replace("replace-me-by", "some-very-long-and-random"))
    assert set(take_over(board, persistent=True)) == {HOST_NAME, WIFI, NETWORK, CONFIG} | tls
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
        (NETWORK, "address = 192.168.1.20/24\ngateway = 192.168.2.1", "not in the network of this box"),
        (NETWORK, "address = 192.168.1.20/24\ngateway = 192.168.1.20", "the same address"),
        (NETWORK, "address = 192.168.1.255/24", "as a whole"),
        (HOST_NAME, "localhost", "cannot be a name"),
        (CONFIG, "name = “stage left”\n", "must be straight ones"),
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
    put(board, CONFIG, TOKENS.replace("first secret token", MARK))
    put(board, WIFI, f"country = DE\nname = Stage\npassword = {MARK}\n")
    for _start in range(3):  # the box asks until it is told
        board.problems.unlink(missing_ok=True)
        in_force = take_over(board, persistent=True)
        assert MARK not in in_force[CONFIG] + in_force[WIFI]
        assert "second secret" in in_force[CONFIG]
        wifi, config = read_problems(board)
        assert 'security.token[scopes=["read:/**"]].token' in config
        assert "the password of Stage" in wifi
    put(board, WIFI, "country = DE\nname = Stage\npassword = told again\n")
    board.problems.unlink()
    assert "told again" in take_over(board, persistent=True)[WIFI]
    assert len(read_problems(board)) == 1


def test_a_token_that_is_taken_away_does_not_go_to_the_next_one(board: Places) -> None:
    config = put(board, CONFIG, TOKENS)
    take_over(board, persistent=True)
    blocks = config.read_text().split("[[security.token]]")
    config.write_text(blocks[0] + "[[security.token]]" + blocks[2])
    in_force = take_over(board, persistent=True)
    assert "first secret" not in in_force[CONFIG]
    assert "second secret" in in_force[CONFIG]
    assert read_problems(board) == []


def test_tokens_that_are_alike_but_for_their_secret(board: Places) -> None:
    alike = "".join(f'[[security.token]]\ntoken = "secret numeral {n}"\nscopes = ["read:/**"]\n' for n in range(3))
    config = put(board, CONFIG, f'[security]\nmode = "authenticated"\n{alike}')
    take_over(board, persistent=True)
    config.write_text('name = "x"\n' + config.read_text())
    in_force = take_over(board, persistent=True)[CONFIG]
    assert all(f'"secret numeral {n}"' in in_force for n in range(3))
    assert read_problems(board) == []
    config.write_text("[[security.token]]".join(config.read_text().split("[[security.token]]")[:3]))
    assert "secret" not in take_over(board, persistent=True)[CONFIG], "nobody knows which of them is gone"
    assert len(read_problems(board)) == 2


def test_secrets_written_in_another_way_take_the_whole_file_off_the_card(board: Places) -> None:
    config = put(
        board,
        CONFIG,
        '[security]\nmode = "authenticated"\ntoken = [{ token = "hidden behind a table", scopes = ["read:/**"] }]\n',
    )
    assert "hidden" in take_over(board, persistent=True)[CONFIG]
    assert "hidden" not in config.read_text()
    assert "hidden" in take_over(board, persistent=True)[CONFIG]
    config.write_bytes(b"\xef\xbb\xbf" + config.read_bytes().replace(b"\n", b"\r\n"))
    assert "hidden" in take_over(board, persistent=True)[CONFIG], "an editor's own ways must not open the box"
    assert read_problems(board) == []
    config.write_bytes(config.read_bytes() + b'name = "more"\r\n')
    assert "hidden" in take_over(board, persistent=True)[CONFIG]
    assert "nothing can be added" in read_problems(board)[0]


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


@pytest.mark.parametrize("line", ["pasword = hush-hush", "password: hush-hush", "hush-hush"])
def test_a_password_with_its_name_misspelt_is_not_told_to_everyone(board: Places, line: str) -> None:
    put(board, WIFI, f"country = DE\nname = Stage\n{line}\n")
    take_over(board, persistent=True)
    (problem,) = read_problems(board)
    assert "line 3" in problem
    assert "hush-hush" not in problem


def test_quotation_marks_that_an_editor_has_turned_are_not_part_of_a_name(board: Places) -> None:
    put(board, WIFI, "country = DE\nname = “Anna’s Stage”\npassword = „long enough“\n")  # noqa: RUF001
    in_force = take_over(board, persistent=True)
    assert read_problems(board) == []
    assert wireless.read_wireless(in_force[WIFI]).networks == [wireless.Wifi("Anna’s Stage", "long enough")]  # noqa: RUF001


def test_what_a_laptop_leaves_on_a_card_disturbs_nothing(board: Places) -> None:
    put(board, HOST_NAME, "left")
    for name in ("._hostname.txt", ".DS_Store", "._clasp-edge.toml", "desktop.ini", "WPSettings.dat"):
        put(board, name, b"\0\5\x16\7" * 100)
    for name in (".Trashes", ".fseventsd", ".Spotlight-V100", "System Volume Information"):
        (board.firmware / name).mkdir()
    (board.firmware / NETWORK).touch()
    assert take_over(board, persistent=True) == {HOST_NAME: "left"}
    assert read_problems(board) == []


def test_a_setting_that_the_data_partition_has_lost_is_taken_from_the_card_again(board: Places) -> None:
    put(board, HOST_NAME, "left")
    put(board, KEYS, KEY)
    take_over(board, persistent=True)
    for name, damage in ((HOST_NAME, bytes(5)), (KEYS, b"\xff\xfe")):
        (board.accepted / name).write_bytes(damage)
    assert take_over(board, persistent=True) == {HOST_NAME: "left", KEYS: KEY}
    assert all("is damaged" in problem for problem in read_problems(board))
    board.problems.unlink()
    assert take_over(board, persistent=True) == {HOST_NAME: "left", KEYS: KEY}
    assert read_problems(board) == []


def test_a_second_configuration_before_the_first_has_proved_itself(board: Places) -> None:
    """What the box goes back to is what has worked, not what nobody has seen working."""
    put(board, CONFIG, "name = 'works'\n")
    take_over(board, persistent=True)
    (board.accepted / (CONFIG + settings.BEFORE)).unlink()  # as confirm does
    for name in ("first", "second"):
        put(board, CONFIG, f"name = '{name}'\n")
        take_over(board, persistent=True)
    assert (board.accepted / CONFIG).read_text() == "name = 'second'\n"
    assert (board.accepted / (CONFIG + settings.BEFORE)).read_text() == "name = 'works'\n"


def test_a_configuration_that_was_taken_back_is_named_at_every_start_and_its_secrets_are_not_lost(
    board: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    uplink = '[uplink.site]\nurl = "ws://hub:7330"\nowns = ["/a/**"]\ntoken = "TOKEN"\n'
    config = put(board, CONFIG, uplink.replace("TOKEN", "old token"))
    take_over(board, persistent=True)
    (board.accepted / (CONFIG + settings.BEFORE)).unlink()
    config.write_text(uplink.replace("TOKEN", "new token") + '[mqtt]\nlisten = "192.0.2.1:1883"\n')
    take_over(board, persistent=True)
    monkeypatch.setattr(confirm, "run", lambda *_: system.run("true"))
    confirm.take_config_back(board)
    for _start in range(2):
        board.problems.unlink()
        assert "old token" in take_over(board, persistent=True)[CONFIG]
        assert "the router does not start with it" in read_problems(board)[0]
    config.write_text(config.read_text().partition("[mqtt]")[0])
    board.problems.unlink()
    assert take_over(board, persistent=True)[CONFIG] == uplink.replace("TOKEN", "new token")
    assert read_problems(board) == []
    assert sorted(path.name for path in board.accepted.iterdir()) == [CONFIG, CONFIG + settings.BEFORE, settings.SEEN]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
@pytest.mark.parametrize("full", ["card", "data"])
def test_a_full_card_costs_neither_the_configuration_nor_its_secrets(board: Places, full: str) -> None:
    """The file is as long as its blocks, and longer without its secrets than with them."""
    token = '[[security.token]]\ntoken = "0123456789ab{:04d}"\nscopes = ["read:/{}"]\n'
    text = '[security]\nmode = "authenticated"\n' + "".join(token.format(n, n) for n in range(110))
    text += "#" * (8191 - len(text)) + "\n"
    place = board.firmware if full == "card" else board.accepted
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12k", "none", place], check=True, timeout=20)
    try:
        (place / "other").write_bytes(bytes(4096 if full == "card" else 8192))
        card = put(board, CONFIG, text)
        for _start in range(2):
            assert take_over(board, persistent=True) == {CONFIG: text}
        assert card.read_text() == text
        (problem,) = read_problems(board)
        assert "No space left" in problem
        assert (full == "card") == (board.accepted / CONFIG).exists()
        assert not (board.accepted / (CONFIG + ".new")).exists()
        subprocess.run(["mount", "-o", "remount,rw,size=64k", place], check=True, timeout=20)
        assert take_over(board, persistent=True) == {CONFIG: text}
        assert "0007" not in card.read_text()
        assert (board.accepted / CONFIG).read_text() == text
    finally:
        subprocess.run(["umount", place], check=True, timeout=20)


def test_an_emptied_file_on_a_box_that_can_store_nothing(board: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    put(board, KEYS, KEY)
    put(board, HOST_NAME, "left")
    take_over(board, persistent=True)
    put(board, HOST_NAME, "#")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert take_over(board, persistent=True) == {KEYS: KEY}
    assert "Read-only file system" in read_problems(board)[0]


@pytest.mark.parametrize(
    "name",
    ["clasp-edge.toml.txt", "hostname", "wifi.txt.txt", "SSH-KEYS", "wifi.txt.rtf", "network.docx", "erase-data"],
)
def test_a_name_that_a_laptop_has_changed_is_pointed_out(board: Places, name: str) -> None:
    put(board, name, "x")
    take_over(board, persistent=True)
    (problem,) = read_problems(board)
    assert f'"{name}" is not read' in problem


@pytest.mark.parametrize(("name", "instead"), [("ssh", KEYS), ("wpa_supplicant.conf", WIFI), ("id_ed25519.pub", KEYS)])
def test_who_knows_other_systems_is_told_where_things_go_here(board: Places, name: str, instead: str) -> None:
    put(board, name, "")
    assert take_over(board, persistent=True) == {}
    (problem,) = read_problems(board)
    assert f'"{name}" is for other systems' in problem
    assert f'"{instead}"' in problem


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
