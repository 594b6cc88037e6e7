"""The folders on the card: certificates and keys in tls/, rules and devices in show/."""

from __future__ import annotations

import re
import time
import tomllib
from pathlib import Path

import pytest
from clasp_board.apply import apply
from clasp_board.daemon_files import CONFIG, RULE_FILES, daemon_files
from clasp_board.folders import MOST, MOST_REMARKS, read_pem, read_show, redact_pem, restore_pem
from clasp_board.places import Places
from clasp_board.problems import read_problems
from clasp_board.secrets import MARK
from clasp_board.settings import take_over
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import Authority

RULE = '[[rule]]\nid = "house"\nwhen = "/desk/go"\n'
ENCRYPTED = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate and its key."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    certificate, key = authority.issue("box.local")
    return certificate.read_text(), key.read_text()


def put(board: Places, name: str, text: str | bytes) -> Path:
    path = board.firmware / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_certificate_and_its_key_reach_the_router_and_the_key_leaves_the_card(
    board: Places, pair: tuple[str, str]
) -> None:
    certificate, key = pair
    put(board, "tls/box.pem", certificate)
    on_card = put(board, "tls/box.key", key.replace("\n", "\r\n"))
    put(board, CONFIG, '[tls]\ncertificate = "tls/box.pem"\nkey = "tls/box.key"\n[mqtt]\ntls_listen = ":8883"\n')
    for _start in range(2):
        in_force = take_over(board, persistent=True)
        assert read_problems(board) == []
        assert in_force["tls/box.key"] == key
        assert "PRIVATE" not in on_card.read_text()
        assert MARK in on_card.read_text()
    apply(board, in_force)
    assert (board.daemon_directory / "tls/box.pem").read_text() == certificate
    assert (board.daemon_directory / "tls/box.key").read_text() == key
    assert (board.daemon_directory / "tls/box.key").stat().st_mode & 0o007 == 0
    assert 'key = "tls/box.key"' in board.daemon_config.read_text()


def test_certificate_and_key_in_one_file(board: Places, pair: tuple[str, str]) -> None:
    on_card = put(board, "tls/both.pem", "".join(pair))
    assert take_over(board, persistent=True)["tls/both.pem"] == "".join(pair)
    assert on_card.read_text() == pair[0] + MARK + "\n"
    renewed = pair[0].replace("-----BEGIN", "# renewed\n-----BEGIN", 1)
    on_card.write_text(renewed + MARK + "\n")
    assert take_over(board, persistent=True)["tls/both.pem"] == renewed + pair[1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hello", "no certificate and no key"),
        (b"0\x82\x03\x0a\x02\xff", "not a text file"),
        (f"{MARK}\n", "does not know the private key"),
        (ENCRYPTED, "has a password"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "damaged"),
        ("-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", "damaged"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "neither"),
        ("-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----\n" * 2, "more than one"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", "no certificate and no key"),
    ],
)
def test_a_wrong_file_is_named(board: Places, text: str | bytes, says: str) -> None:
    put(board, "tls/box.pem", text)
    assert take_over(board, persistent=True) == {}
    (problem,) = read_problems(board)
    assert problem.startswith("tls/box.pem: ")
    assert says in problem


def test_a_configuration_that_names_a_certificate_that_is_not_there(board: Places) -> None:
    put(board, CONFIG, '[security]\nmode = "authenticated"\ntrust_anchors = ["nonsense"]\n')
    assert take_over(board, persistent=True) == {}
    assert "trust_anchors" in read_problems(board)[0]


def test_rules_and_devices_of_a_show(board: Places) -> None:
    put(
        board,
        "show/desk.toml",
        '[[osc.target]]\nname = "desk"\nhost = "10.0.0.9"\nport = 9000\npatterns = ["/osc/desk/**"]\n',
    )
    put(board, "show/rules.json", '{"rules": []}')
    in_force = take_over(board, persistent=True)
    assert read_problems(board) == []
    apply(board, in_force)
    conf = board.daemon_directory / "conf.d"
    assert "desk" in (conf / "60-show-desk.toml").read_text()
    assert str(board.daemon_directory / "show/rules.json") in (conf / "55-show.toml").read_text()
    (board.firmware / "show/desk.toml").unlink()
    assert "show/desk.toml" in take_over(board, persistent=True), "what is gone changes nothing"
    put(board, "show/desk.toml", "# not today\n")
    assert "show/desk.toml" not in take_over(board, persistent=True)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("show/a.toml", "[websocket]\nlisten = 'off'\n", '"websocket" belongs into clasp-edge.toml'),
        ("show/a.toml", "[mqtt]\nlisten = 'off'\n", '"mqtt.listen" belongs into clasp-edge.toml'),
        ("show/a.toml", "[[osc.target]]\nnmae = 'x'\n", "osc.target"),
        ("show/a.toml", "[mqtt\n", "line 1"),
        ("show/a.toml", b"\xff\xfe\xff", "not a text file"),
        ("show/a.json", "{", "line 1"),
        ("show/a.json", "[" * 100_000, "is not JSON"),
        ("show/a.json", '{"rules": 3}', "must be a list of rules"),
    ],
)
def test_a_part_of_a_show_that_is_wrong_is_left_out_alone(
    board: Places, name: str, text: str | bytes, says: str
) -> None:
    put(board, "show/good.json", "[]")
    put(board, name, text)
    assert take_over(board, persistent=True) == {"show/good.json": "[]"}
    (problem,) = read_problems(board)
    assert problem.startswith(f"{name}: ")
    assert says in problem
    assert str(board.root) not in problem


def test_names_that_are_not_read_are_pointed_out_and_many_files_have_a_bound(board: Places) -> None:
    for name in ("._box.pem", ".DS_Store", "README.txt", "desktop.ini"):
        put(board, f"tls/{name}", "x")
    assert take_over(board, persistent=True) == {}
    assert read_problems(board) == []
    put(board, "tls/my key.pem", "x")
    put(board, "show/a.toml.txt", "x")
    take_over(board, persistent=True)
    assert all("is not read" in problem for problem in read_problems(board))
    assert len(read_problems(board)) == 2
    for number in range(MOST + 1):
        put(board, f"show/{number}.json", "#\n")
    take_over(board, persistent=True)
    assert "more than" in read_problems(board)[2]


@given(st.text(alphabet="-BEGINDPRVATKYCF \nA=", max_size=300))
def test_nothing_of_a_key_is_left_that_was_redacted(text: str) -> None:
    whole = f"{text}\n-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n"
    redacted = redact_pem(whole)
    if "c2VjcmV0" not in redacted:
        try:
            read_pem(whole)
        except ValueError:
            return
        assert restore_pem(redacted, whole) == whole


PAIR = '[tls]\ncertificate = "tls/box.pem"\nkey = "tls/box.key"\n[mqtt]\ntls_listen = ":8883"\n'


@pytest.fixture(scope="module")
def renewed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Another certificate for the same box, with a key of its own."""
    certificate, key = Authority(tmp_path_factory.mktemp("renewed")).issue("box.local")
    return certificate.read_text(), key.read_text()


@pytest.mark.parametrize("second", ["absent", "refused", "of another"])
def test_a_certificate_that_does_not_fit_its_key_stays_out_until_the_key_comes(
    board: Places, pair: tuple[str, str], renewed: tuple[str, str], second: str
) -> None:
    for name, text in (("tls/box.pem", pair[0]), ("tls/box.key", pair[1]), (CONFIG, PAIR)):
        put(board, name, text)
    before = take_over(board, persistent=True)
    put(board, "tls/box.pem", renewed[0])
    if second == "refused":
        put(board, "tls/box.key", ENCRYPTED)
    elif second == "of another":
        put(board, "tls/box.pem", pair[0])
        put(board, "tls/box.key", renewed[1])
    for _start in range(2):
        assert take_over(board, persistent=True) == before
        assert any(
            "cannot be used with the key in tls/box.key" in problem
            and problem.endswith("The box goes on with what it had before.")
            for problem in read_problems(board)
        )
        board.problems.unlink()
        assert not (board.run / "trial-tls").exists()
    put(board, "tls/box.pem", renewed[0])
    on_card = put(board, "tls/box.key", renewed[1])
    after = take_over(board, persistent=True)
    assert (after["tls/box.pem"], after["tls/box.key"]) == renewed
    assert read_problems(board) == []
    assert "PRIVATE" not in on_card.read_text()
    assert take_over(board, persistent=True) == after


def test_a_key_that_is_withdrawn_alone_stays(board: Places, pair: tuple[str, str]) -> None:
    for name, text in (("tls/box.pem", pair[0]), ("tls/box.key", pair[1]), (CONFIG, PAIR)):
        put(board, name, text)
    before = take_over(board, persistent=True)
    put(board, "tls/box.key", "# gone\n")
    assert take_over(board, persistent=True) == before
    assert "tls/box.key is not there" in read_problems(board)[0]
    put(board, CONFIG, "name = 'stage'\n")
    assert "tls/box.key" not in take_over(board, persistent=True)


def test_an_authority_that_is_overwritten_with_a_key_stays(board: Places, pair: tuple[str, str]) -> None:
    put(board, "tls/ca.pem", pair[0])
    put(board, CONFIG, '[tls]\nclient_ca = "tls/ca.pem"\n[mqtt]\ntls_listen = ":8883"\n')
    before = take_over(board, persistent=True)
    put(board, "tls/ca.pem", pair[1])
    assert take_over(board, persistent=True) == before
    assert "tls/ca.pem has no certificate in it" in read_problems(board)[0]


def test_a_new_pair_comes_with_the_configuration_that_names_it(
    board: Places, pair: tuple[str, str], renewed: tuple[str, str]
) -> None:
    for name, text in (("tls/box.pem", pair[0]), ("tls/box.key", pair[1]), (CONFIG, PAIR)):
        put(board, name, text)
    take_over(board, persistent=True)
    put(board, "tls/box.pem", renewed[0])
    put(board, "tls/new.key", renewed[1])
    put(board, CONFIG, PAIR.replace("box.key", "new.key"))
    in_force = take_over(board, persistent=True)
    assert read_problems(board) == []
    assert (in_force["tls/box.pem"], in_force["tls/new.key"]) == renewed
    assert "new.key" in in_force[CONFIG]


@pytest.mark.parametrize("blanks", [" ", "\t", "  \t"])
def test_blanks_behind_the_dashes_leave_no_key_on_the_card(board: Places, pair: tuple[str, str], blanks: str) -> None:
    text = "".join(pair).replace("-----\n", f"-----{blanks}\n")
    on_card = put(board, "tls/both.pem", text)
    assert take_over(board, persistent=True)["tls/both.pem"] == text
    assert read_problems(board) == []
    assert "PRIVATE" not in on_card.read_text()
    assert on_card.read_text().endswith(f"{MARK}\n")


@pytest.mark.parametrize("inside", ["x -----BEGIN", " -----BEGIN"])
def test_a_key_that_could_not_be_taken_off_the_card_is_refused(pair: tuple[str, str], inside: str) -> None:
    with pytest.raises(ValueError, match="lines of its own"):
        read_pem(pair[0] + pair[1].replace("-----BEGIN", inside))


def test_many_beginnings_without_an_end_are_looked_at_once() -> None:
    """CPU time is a matter of seconds where each beginning looks for its end through all of the rest."""
    line = "-----BEGIN PRIVATE KEY-----\n"
    text = line * (256 * 1024 // len(line))
    began = time.process_time()
    assert redact_pem(text) == text
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[osc]\nalso_listen = [":9001"]\n', '"osc.also_listen" belongs'),
        ('[osc]\ntcp_listen = ":9001"\n', '"osc.tcp_listen" belongs'),
        ('[osc]\nscopes = ["write:/**"]\n', '"osc.scopes" belongs'),
        ('[[osc.target]]\nname = "a"\nscopes = ["write:/**"]\n', '"osc.target.scopes" belongs'),
        ('[rules]\nfiles = ["/etc/x.json"]\n', '"rules.files" belongs'),
        (f"x = {'[' * 5000}\n", "nested too deeply"),
        (f"rule{'.a' * 5000} = 1\n", "nested too deeply"),
    ],
)
def test_a_part_of_a_show_opens_no_door_and_hides_no_rules(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        read_show(text)


def test_rules_that_the_configuration_names_go_on_beside_those_of_a_show(tmp_path: Path) -> None:
    files = daemon_files({CONFIG: '[rules]\nfiles = ["/etc/own.json"]\n', "show/a.json": "[]"}, tmp_path)
    assert tomllib.loads(files[RULE_FILES])["rules"]["files"] == ["/etc/own.json", str(tmp_path / "show/a.json")]


def test_thousands_of_other_files_are_a_sentence(board: Places) -> None:
    (board.firmware / "show").mkdir()
    for number in range(3000):
        (board.firmware / f"show/{number}.wav").touch()
    take_over(board, persistent=True)
    assert len(read_problems(board)) == MOST_REMARKS + 1
    assert read_problems(board)[-1] == f"And {3000 - MOST_REMARKS} more files in show/ are not read."
