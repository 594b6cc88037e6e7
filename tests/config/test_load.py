"""Reading files and `--set`: what is accepted, and the one clear line for each thing that is not."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.config.listen import Listen
from clasp_edge.config.load import ConfigError, load_config
from clasp_edge.config.model import Config, Strategy, Token

WriteFile = Callable[[str], Path]


@pytest.fixture
def write_file(tmp_path: Path) -> WriteFile:
    def write(text: str) -> Path:
        path = tmp_path / "edge.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def lines(path: Path | None = None, *sets: str) -> list[str]:
    """The complaints about a configuration, one a line, without the directory of the file and the line in it (which are
    for test_lines.py)."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, sets)
    found = [line.replace(f"{path.parent}/" if path else "\0", "") for line in str(caught.value).split("\n")]
    return [re.sub(r"^([^:]+\.toml):\d+: ", r"\1: ", line) for line in found]


def test_nothing_given_is_the_defaults() -> None:
    assert load_config() == Config()


def test_an_empty_file_is_the_defaults(write_file: WriteFile) -> None:
    assert load_config(write_file("")) == Config()


def test_every_kind_of_value(write_file: WriteFile) -> None:
    config = load_config(
        write_file(
            """
            name = "FOH"
            data_dir = "/srv/clasp"
            websocket.listen = "[::1]:7400"
            [tcp]
            listen = ":7401"
            [limits]
            max_sessions = 0
            session_timeout_s = 2.5
            [[state.strategy]]
            pattern = "/meters/**"
            strategy = "max"
            [security]
            mode = "authenticated"
            [[security.token]]
            token = "one"
            scopes = ["read:/**", "W:/lights/*"]
            expires = 2030-01-31T00:00:00Z
            """
        )
    )
    assert config.name == "FOH"
    assert config.data_dir == Path("/srv/clasp")
    assert config.websocket.listen == Listen("::1", 7400)
    assert config.tcp.listen == Listen("", 7401)
    assert config.limits.max_sessions == 0
    assert config.limits.session_timeout_s == 2.5
    assert config.limits.messages_per_second == 1000
    assert config.state.strategy == (Strategy(pattern="/meters/**", strategy="max"),)
    assert config.security.token == (
        Token(
            token="one",
            scopes=("read:/**", "W:/lights/*"),
            expires=datetime.datetime(2030, 1, 31, tzinfo=datetime.UTC),
        ),
    )


def test_data_dir_is_made_absolute(write_file: WriteFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir(tmp_path)
    assert load_config(write_file('data_dir = "~/clasp"')).data_dir == Path("/home/me/clasp")
    assert load_config(write_file('data_dir = "data"')).data_dir == tmp_path / "data"


# --set


def test_set_takes_toml_values_and_plain_text() -> None:
    config = load_config(
        None,
        [
            "websocket.listen=127.0.0.1:7400",
            'name="quoted"',
            "limits.max_sessions=50",
            "state.eviction=reject",
            "security.token=[{token = 'a=b', scopes = ['read:/**']}]",
            "log.level=debug",
        ],
    )
    assert config.websocket.listen == Listen("127.0.0.1", 7400)
    assert config.name == "quoted"
    assert config.limits.max_sessions == 50
    assert config.state.eviction == "reject"
    assert config.security.token[0].token == "a=b"
    assert config.log.level == "debug"


def test_set_wins_over_the_file_and_the_last_set_over_all(write_file: WriteFile) -> None:
    path = write_file("[limits]\nmax_sessions = 1\nmax_half_open = 2")
    limits = load_config(path, ["limits.max_sessions=3", "limits.max_sessions=4"]).limits
    assert (limits.max_sessions, limits.max_half_open) == (4, 2)


def test_a_line_break_in_a_set_brings_in_no_further_key() -> None:
    assert load_config(None, ["name=1\nmax = 2"]).name == "1\nmax = 2"


@pytest.mark.parametrize("text", ["", "name", "=x", ".name=x", "limits.=x", "limits..max_sessions=1"])
def test_a_set_that_is_no_assignment(text: str) -> None:
    assert lines(None, text) == [f'--set: must be "section.key=value", not "{text}"']


def test_a_set_below_a_plain_value(write_file: WriteFile) -> None:
    assert lines(write_file('name = "a"'), "name.first=b") == [
        '--set: name.first: "name" is not a table with keys of its own'
    ]


def test_a_set_that_is_not_utf8() -> None:
    assert lines(None, "name=\udcff") == ["--set: name: is not UTF-8 text"]


# Files that cannot be read at all


def test_a_missing_file(tmp_path: Path) -> None:
    assert lines(tmp_path / "none.toml") == ["none.toml: cannot be read: No such file or directory"]


def test_a_directory(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    assert lines(tmp_path / "etc") == ["etc: cannot be read: Is a directory"]


def test_a_file_that_is_not_toml(write_file: WriteFile) -> None:
    assert lines(write_file("name = 'a'\nname =")) == ["edge.toml: is not TOML: Invalid value (at end of document)"]


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_bytes(b'name = "caf\xe9"')
    assert lines(path) == ["edge.toml: is not UTF-8 text (byte 11)"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_are_read_as_any_editor_writes_them(tmp_path: Path, encoding: str, newline: str) -> None:
    path = tmp_path / "edge.toml"
    text = 'name = "Bühne"\n[limits]\nmax_sessions = 7\nnonsense = 1\n'
    path.write_bytes(text.replace("\n", newline).encode(encoding))
    with pytest.raises(ConfigError, match=r"edge\.toml:4: limits\.nonsense: unknown key"):
        load_config(path)
    path.write_bytes(text.replace("nonsense = 1\n", "").replace("\n", newline).encode(encoding))
    assert load_config(path).name == "Bühne"
    path.write_bytes(path.read_bytes()[:-1] if encoding == "utf-16" else path.read_bytes() + b"\xff")
    assert "text (byte" in lines(path)[0]


# Keys and values


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nam = 'a'", 'nam: unknown key; the closest valid key is "name"'),
        ("[limits]\nmax_sesions = 1", 'limits.max_sesions: unknown key; the closest valid key is "max_sessions"'),
        ("[webscket]\nlisten = 'off'", 'webscket: unknown key; the closest valid key is "websocket"'),
        ("[tcp]\nzz = 1", "tcp.zz: unknown key; the valid keys are listen, tls_listen"),
        ("name = ''", 'name: must be text of 1 to 256 characters, not ""'),
        ("name = 3", "name: must be text of 1 to 256 characters, not 3"),
        ("data_dir = ''", 'data_dir: must be the path of a directory, not ""'),
        ("data_dir = '~nobody-at-all/x'", 'data_dir: the home directory in "~nobody-at-all/x" is not known'),
        ("limits = 3", "limits: must be a table: [limits]"),
        ('[[rules]]\nid = "a"', "rules: must be a table: [rules]; a list of them is [[rule]]"),
        ("[limits]\nmax_sessions = -1", "limits.max_sessions: must be a whole number from 0 to 1000000, not -1"),
        ("[limits]\nmax_sessions = 1.5", "limits.max_sessions: must be a whole number from 0 to 1000000, not 1.5"),
        ("[limits]\nmax_sessions = true", "limits.max_sessions: must be a whole number from 0 to 1000000, not true"),
        (
            "[limits]\nmax_sessions = [1]",
            "limits.max_sessions: must be a whole number from 0 to 1000000, not this list",
        ),
        ("[limits]\nmax_sessions = {}", "limits.max_sessions: must be a whole number from 0 to 1000000, not a table"),
        ("[state]\nparam_ttl_s = nan", "state.param_ttl_s: must be a number from 0 to 2147483647, not nan"),
        ("[state]\nparam_ttl_s = inf", "state.param_ttl_s: must be a number from 0 to 2147483647, not inf"),
        ("[state]\neviction = 'fifo'", 'state.eviction: must be "lru" or "reject", not "fifo"'),
        ("[security]\nlock_error_code = 404", "security.lock_error_code: must be 400 or 401, not 404"),
        ("[log]\nlevel = 'loud'", 'log.level: must be "debug", "info", "warning" or "error", not "loud"'),
        (
            "[websocket]\nlisten = 7330",
            'websocket.listen: must be text such as "0.0.0.0:7330" or "off", not 7330; '
            '":7330" is this port on every interface',
        ),
        ("[tcp]\nlisten = 99999", 'tcp.listen: must be text such as "0.0.0.0:7330" or "off", not 99999'),
        (
            "[mqtt]\nlisten = '1883'",
            'mqtt.listen: must be "host:port", "[IPv6]:port", ":port" or "off", not "1883"; '
            '":1883" is this port on every interface',
        ),
        (
            "[websocket]\nlisten = 'x:99999'",
            'websocket.listen: the port must be a whole number from 0 to 65535, not "99999"',
        ),
        ("[state]\nstrategy = {}", "state.strategy: must be a list of tables: [[state.strategy]]"),
        ("[state]\nstrategy = [1]", "state.strategy: must be a list of tables: [[state.strategy]]"),
    ],
)
def test_a_wrong_key_or_value(write_file: WriteFile, text: str, complaint: str) -> None:
    assert lines(write_file(text)) == [f"edge.toml: {complaint}"]


def test_a_long_value_is_quoted_in_part(write_file: WriteFile) -> None:
    [line] = lines(write_file(f"[log]\nlevel = '{'x' * 500}'"))
    assert len(line) < 160


def test_a_problem_is_one_line_without_terminal_escapes(write_file: WriteFile) -> None:
    [line] = lines(write_file(r'"a\nb\u001b[31m" = 1'))
    assert line.startswith(r"edge.toml: a\nb\x1b[31m: unknown key")


# What belongs together


TOO_LONG = "state.strategy[0].pattern: an address pattern has at most 64 segments and 1024 bytes"
STRATEGY = "[[state.strategy]]\npattern = '{}'\nstrategy = 'max'"
TOKEN = "[[security.token]]\ntoken = '{}'\nscopes = {}\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (STRATEGY.format("meters/*"), 'state.strategy[0].pattern: an address pattern starts with "/": "meters/*"'),
        (STRATEGY.format("/a//b"), 'state.strategy[0].pattern: an address pattern has no empty segment: "/a//b"'),
        (STRATEGY.format("/a" * 65), TOO_LONG),
        (STRATEGY.format("/" + "é" * 512), TOO_LONG),
        ("[[state.strategy]]\npattern = '/a'", "state.strategy[0].strategy: missing"),
        (TOKEN.format("a", "[]"), "security.token[0].scopes: must be a list of at least one text, not this list"),
        (TOKEN.format("a", "[3]"), "security.token[0].scopes: must be a list of at least one text, not this list"),
        (
            TOKEN.format("a", "['/x']"),
            'security.token[0].scopes[0]: a scope is "action:pattern", for example "read:/**": "/x"',
        ),
        (
            TOKEN.format("a", "['own:/x']"),
            'security.token[0].scopes[0]: the action of a scope is read, write, write! or admin, not "own"',
        ),
        (TOKEN.format("a", "['r:/a', 'r:b']"), 'security.token[0].scopes[1]: an address pattern starts with "/": "b"'),
        (TOKEN.format("", "['r:/a']"), "security.token[0].token: must be text of 1 to 4096 characters, not this"),
        (TOKEN.format("a", "['r:/a']") * 2, "security.token[1].token: the same token as security.token[0]"),
        (
            TOKEN.format("a", "['r:/a']") + "expires = 2030-01-31T00:00:00",
            "security.token[0].expires: must be a date and time with an offset from UTC, "
            "such as 2030-01-31T00:00:00Z, not 2030-01-31 00:00:00",
        ),
        (
            "[limits]\narena_mib = 1\noutbox_kib = 1025\nevent_backlog_kib = 1024",
            "limits.outbox_kib: 1025 KiB for one session is more than the whole arena (arena_mib = 1)",
        ),
        ("[tcp]\nlisten = '0.0.0.0:7330'", "tcp.listen: 0.0.0.0:7330 is already taken by websocket.listen"),
        (
            "[websocket]\nlisten = 'off'\n[mqtt]\nlisten = 'off'\n[osc]\nlisten = 'off'",
            "websocket.listen: every listener is off: nobody could connect",
        ),
    ],
)
def test_parts_that_cannot_be_meant(write_file: WriteFile, text: str, complaint: str) -> None:
    assert lines(write_file(text)) == [f"edge.toml: {complaint}"]


def test_two_listeners_may_both_take_any_free_port() -> None:
    config = load_config(None, ["websocket.listen=127.0.0.1:0", "tcp.listen=127.0.0.1:0"])
    assert config.tcp.listen == config.websocket.listen


def test_a_secret_is_never_quoted(write_file: WriteFile) -> None:
    secret = "sesame" * 1000
    assert "sesame" not in "\n".join(lines(write_file(TOKEN.format(secret, "['r:/a']"))))


def test_all_problems_are_reported_each_with_its_origin(write_file: WriteFile) -> None:
    path = write_file("nmae = 'a'\n[limits]\nmax_sessions = 'many'\nmax_half_open = 0\n[log]\nlevel = 1")
    found = lines(path, "limits.max_half_open=-1", "tcp.listen=nowhere", "oops")
    assert [line.split(": ")[:2] for line in found] == [
        ["--set", 'must be "section.key=value", not "oops"'],
        ["edge.toml", "nmae"],
        ["--set", "tcp.listen"],
        ["edge.toml", "limits.max_sessions"],
        ["--set", "limits.max_half_open"],
        ["edge.toml", "log.level"],
    ]


# Uplinks


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        (['url="ws://hub"', 'owns=["/a/**"]'], 'uplink.main.url: the port is missing, such as in "ws://hub:7330"'),
        (
            ['url=["ws://hub:1", "http://hub:2"]', 'owns=["/a/**"]'],
            'uplink.main.url[1]: a router is "ws://host:port", "wss://host", "tcp://host:port", '
            '"quic://host:port" or "discover:NAME"',
        ),
        (["url=5", 'owns=["/a/**"]'], "uplink.main.url: must be text or a list of texts, not 5"),
        (
            ['url="ws://hub:1"', 'owns=["/a/**"]', 'policy={"/a/**"="keep"}'],
            'uplink.main.policy: must be a table of patterns, each with "latest", "log" or "drop", not a table',
        ),
        (
            ['url="ws://hub:1"'],
            "uplink.main.owns: an uplink without patterns in owns or wants would carry nothing; "
            "with a name = ... it owns /NAME/**",
        ),
        (['url="ws://hub:1"', 'wants=["b"]'], 'uplink.main.wants[0]: an address pattern starts with "/": "b"'),
        (
            ['url="ws://hub:1"', 'owns=["/a/**"]', 'tls_ca="ca.pem"'],
            'uplink.main.tls_ca: none of the addresses begins with "wss://" or "quic://"',
        ),
    ],
)
def test_an_uplink_that_could_not_work_is_refused(texts: list[str], complaint: str) -> None:
    assert lines(None, *(f"uplink.main.{text}" for text in texts)) == [f"--set: {complaint}"]


# Whatever is given, the outcome is a Config or a ConfigError with sentences in it.

keys = st.sampled_from(
    ["name", "data_dir", "limits", "limits.max_sessions", "tcp.listen", "state.strategy", "security.token", "uplink.a"]
)
scalars = st.sampled_from(["1", "-1", "1e400", "true", "nan", "[]", "{}", "[{}]", "[{token=1}]", "1979-05-27", "'x'"])


@given(st.lists(st.tuples(keys | st.text(), scalars | st.text()).map("=".join)))
def test_no_set_does_more_than_be_refused(sets: list[str]) -> None:
    try:
        outcome: Config | ConfigError = load_config(None, sets)
    except ConfigError as error:
        outcome = error
    if isinstance(outcome, ConfigError):
        assert outcome.problems
        assert len(str(outcome).split("\n")) == len(outcome.problems)


@pytest.mark.parametrize(
    ("text", "owns"),
    [
        ('name = "stage left"\n[uplink.hub]\nurl = "ws://hub:1"\n', ("/stage-left/**",)),
        ('name = "FOH 2"\n[uplink.hub]\nurl = "ws://hub:1"\n', ("/foh-2/**",)),
        ('name = "x"\n[uplink.hub]\nurl = "ws://hub:1"\nowns = ["/y/**"]\n', ("/y/**",)),
        ('name = "x"\n[uplink.hub]\nurl = "ws://hub:1"\nwants = ["/y/**"]\n', ()),
    ],
)
def test_an_uplink_owns_what_lies_below_the_name(text: str, owns: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text(text)
    assert load_config(path).uplink["hub"].owns == owns


def test_a_router_without_a_name_of_its_own_owns_nothing(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    for name in ("", 'name = "clasp-edge"\n', 'name = "***"\n'):
        path.write_text(f'{name}[uplink.hub]\nurl = "ws://hub:1"\n')
        with pytest.raises(ConfigError, match="would carry nothing"):
            load_config(path)
