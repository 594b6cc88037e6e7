"""A main file and its drop-ins: what wins, what is added, and which file a complaint names."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.anybody import as_anybody

from clasp_edge.config.load import ConfigError, load_config
from clasp_edge.config.sources import LARGE_BYTES, Sources, Unreadable, drop_ins, read

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the main file and drop-ins; keyword `a` is conf.d/a.toml. Returns the main file's path."""

    def write(main: str, **extra: str) -> Path:
        (tmp_path / "conf.d").mkdir(exist_ok=True)
        for name, text in extra.items():
            (tmp_path / "conf.d" / f"{name}.toml").write_text(text)
        path = tmp_path / "clasp-edge.toml"
        path.write_text(main)
        return path

    return write


def complaints(path: Path, *sets: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, sets)
    found = [line.replace(f"{path.parent}/", "") for line in str(caught.value).split("\n")]
    return [re.sub(r"^([^:]+\.toml):\d+: ", r"\1: ", line) for line in found]


def test_a_later_file_wins_key_by_key(write: Write) -> None:
    path = write(
        'name = "main"\n[limits]\nmax_sessions = 1\nmax_half_open = 1',
        a='[limits]\nmax_sessions = 2\n[mqtt]\nlisten = "off"',
        b='name = "b"\n[limits]\nmax_sessions = 3',
    )
    config = load_config(path)
    assert (config.name, config.limits.max_sessions, config.limits.max_half_open) == ("b", 3, 1)
    assert config.mqtt.listen is None
    assert load_config(path, ["name=typed"]).name == "typed"


def test_repeated_tables_are_added_and_other_lists_replaced(write: Write) -> None:
    token = '[[security.token]]\ntoken = "{0}"\nscopes = ["read:/{0}"]\n'
    path = write(
        '[security]\nmode = "authenticated"\n' + token.format("one") + '[osc]\nallow = ["10.0.0.0/8", "::1"]',
        a=token.format("two") + token.format("three"),
        b='[osc]\nallow = ["192.168.0.0/16"]',
    )
    config = load_config(path)
    assert [entry.token for entry in config.security.token] == ["one", "two", "three"]
    assert config.osc.allow == ("192.168.0.0/16",)


def test_named_tables_are_joined_by_name(write: Write) -> None:
    bridge = '[[bridge.{0}.map]]\ntopic = "{1}/#"\naddress = "/{1}/**"\n'
    path = write(
        '[bridge.site]\nbrokers = ["mqtt://a:1"]\n' + bridge.format("site", "x"),
        a='[bridge.site]\nclient_id = "left"\n' + bridge.format("site", "y"),
        b='[bridge.other]\nbrokers = ["mqtt://b:1"]\n' + bridge.format("other", "z"),
    )
    bridges = load_config(path).bridge
    assert (bridges["site"].client_id, bridges["site"].brokers) == ("left", ("mqtt://a:1",))
    assert [part.topic for part in bridges["site"].map] == ["x/#", "y/#"]
    assert bridges["other"].brokers == ("mqtt://b:1",)


def test_only_visible_toml_files_count_in_the_order_of_their_names(write: Write, tmp_path: Path) -> None:
    path = write("", **{"20-b": "", "10-a": "", ".30-hidden": "name = "})
    (tmp_path / "conf.d" / "README").write_text("not = toml = at all")
    (tmp_path / "conf.d" / "40-c.toml~").write_text("nonsense")
    assert [file.name for file in drop_ins(path)] == ["10-a.toml", "20-b.toml"]
    assert load_config(path)


def test_each_complaint_names_its_file(write: Write) -> None:
    path = write(
        "[limits]\nmax_sessions = -1\n",
        a='[limits]\nmax_half_open = "many"\n[limit]\nx = 1\n',
        b='[security]\nmode = "authenticated"\n[[security.token]]\ntoken = "t"\nscopes = ["read:/**"]\n',
        c='[[security.token]]\ntoken = "u"\nscopes = ["nothing"]\n',
    )
    found = complaints(path, "limits.outbox_kib=1")
    expected = {
        "clasp-edge.toml": "limits.max_sessions",
        "conf.d/a.toml": "limits.max_half_open",
        "--set": "limits.outbox_kib",
        "conf.d/c.toml": "security.token[1].scopes",
    }
    for file, key in expected.items():
        assert any(line.startswith(f"{file}: {key}") for line in found), (file, key, found)
    assert any(line.startswith("conf.d/a.toml: limit: unknown key") for line in found)
    assert len(found) == 5


def test_every_file_that_cannot_be_read_is_named(write: Write, tmp_path: Path) -> None:
    path = write("name = ", a="[[", b='name = "fine"')
    (tmp_path / "conf.d" / "c.toml").write_bytes(b'name = "\xff"')
    (tmp_path / "conf.d" / "d.toml").mkdir()
    found = complaints(path)
    assert [line.split(":")[0] for line in found] == [
        "clasp-edge.toml", "conf.d/a.toml", "conf.d/c.toml", "conf.d/d.toml"
    ]  # fmt: skip


def test_the_origin_of_what_replaces_a_table_is_the_file_that_replaced_it(write: Write) -> None:
    path = write("[limits]\nmax_sessions = 1", a="limits = 5")
    assert complaints(path) == ["conf.d/a.toml: limits: must be a table: [limits]"]
    assert Sources(path).origin_of("limits.max_sessions").name == "a.toml"


def test_a_directory_that_cannot_be_read_is_an_error(write: Write, tmp_path: Path) -> None:
    path = write("")
    (tmp_path / "conf.d").chmod(0)
    assert as_anybody(lambda: complaints(path)) == ["conf.d: cannot be read: Permission denied"]
    (tmp_path / "conf.d").chmod(0o700)


def test_a_file_in_place_of_the_directory_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "conf.d").write_text("")
    (tmp_path / "clasp-edge.toml").write_text("")
    assert drop_ins(tmp_path / "clasp-edge.toml") == []


ONE_AND_ALL = [
    "a = {b = 1,}", "a = {\n b = 1\n}", 'a = "\\e[0m"', 'a = "\\x41"', "a = 07:32", "a = 1979-05-27T07:32",  # TOML 1.1
    "a = 1e400", "a = nan", "a = 1979-05-27 07:32:00Z", "a . b = 1", "a = 9223372036854775808",
    "a = 1\na = 2", "[a]\n[a]", "[a.b]\n[a]\nb.c = 1", "a = [1,,2]", "a = 01", 'a = "\x7f"', "a = tru",
    "a = 2021-02-30", f"a = {'[' * 200}1{']' * 200}",
]  # fmt: skip


@pytest.mark.parametrize("text", ONE_AND_ALL)
def test_what_is_toml_depends_neither_on_the_size_of_the_file_nor_on_who_reads_it(text: str, write: Write) -> None:
    def verdict(text: str) -> str:
        try:
            return repr(read(write(text)))
        except Unreadable as problem:
            return f"is not TOML: {problem}"

    large = text + "\n# rules" * (LARGE_BYTES // 8 + 1)
    with ThreadPoolExecutor(1) as thread:
        found = [
            verdict(text),
            verdict(large),
            thread.submit(verdict, f"{large} that a reload reads").result(),
        ]
    same = {sentence.replace("TzInfo(UTC)", "datetime.timezone.utc").partition(" (at ")[0] for sentence in found}
    assert len(same) == 1, found
