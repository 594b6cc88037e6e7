"""Files that no editor and no program of ours has written: a sentence for each, and never a trace."""

from __future__ import annotations

import contextlib
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from clasp_edge.cli import rules as command
from clasp_edge.rules.actions import _READERS as VERBS
from clasp_edge.rules.dialects import NotRules, convert, read_file, tables_of
from clasp_edge.rules.dry_run import DryRun
from clasp_edge.rules.files import MAX_TOLD, read_all
from clasp_edge.rules.parse import TRIGGERS, read_rules
from clasp_edge.rules.transforms import _MAKERS as TRANSFORMS

TRIGGER = {"type": "set", "pattern": "/in"}
DO = {"set": "/out", "value": 1}
HUGE = 10**400


def problems_of(rule: dict[str, Any], maps: Any = ()) -> list[str]:
    found: list[str] = []
    rules = read_rules(
        [{"id": "r", "trigger": TRIGGER, "do": DO, **rule}], maps, {}, lambda *one: found.append(str(one))
    )
    world = DryRun(lambda line: None)
    world.load(rules)
    world.start()
    world.set("/in", 1)
    world.pass_time(1)
    return found


@pytest.mark.parametrize(
    "rule",
    [
        {"trigger": {"type": "link", "name": "a//b"}},
        {"trigger": {"type": "link", "name": "**x*{"}},
        {"trigger": {"type": "threshold", "address": "/a", "above": "/a//b"}},
        {"trigger": {"type": "threshold", "address": "/a", "above": "/a/#"}},
        {"trigger": {"type": "threshold", "address": "/a", "above": HUGE}},
        {"trigger": {"type": "set", "pattern": "/\ud800"}},
        {"trigger": {"type": "change", "pattern": "/a", "to": tomllib.loads("a = 2020-01-01")["a"]}},
        {"when": {"address": "/\ud800", "eq": 1}},
        {"when": {"pattern": "/\ud800/*", "any": True, "eq": 1}},
        {"when": {"address": "/a", "eq": tomllib.loads("a = 07:00:00")["a"]}},
        {"when": {"address": "/a", "in": [HUGE]}},
        {"when": {"address": "/a/*", "eq": 1}},
        {"when": {"any": []}},
        {"cooldown_s": HUGE},
        {"do": {"delay_s": HUGE}},
        {"do": {"delay_s": "/a//b"}},
        {"do": {"increment": "/a", "by": HUGE}},
        {"do": {"set": "/\ud800", "value": 1}},
        {"do": {"set": "/a//{value}"}},
        {"do": {"bundle": []}},
        {"do": {"set": "/a", "transform": {"type": "modulo", "divisor": HUGE}}},
    ],
)
def test_what_no_rule_can_mean_is_a_problem(rule: dict[str, Any]) -> None:
    assert problems_of(rule)


MENTIONED = [
    *({"trigger": {"type": kind, **more}} for kind in TRIGGERS for more in ({}, {"pattern": "/a"})),
    *({"do": {verb: value}} for verb in VERBS for value in ("/a", 1, [], {}, [1], True)),
    *({"do": {"set": "/a", "from": "/b", "transform": {"type": kind}}} for kind in TRANSFORMS),
]


@pytest.mark.parametrize("rule", MENTIONED, ids=str)
def test_what_is_only_mentioned_is_a_rule_or_a_problem(rule: dict[str, Any]) -> None:
    """Each trigger, action and transform without what it needs."""
    problems_of(rule)


@pytest.mark.parametrize(
    "more",
    [{"to": "b"}, {"to": "/b//c"}, {"to": "/b\ud800"}, {"from": "/a\ud800"}, {"clamp": True}, {"to": "/b/{9}"}],
)
def test_what_no_map_can_mean_is_a_problem(more: dict[str, Any]) -> None:
    assert problems_of({}, [{"from": "/a", "to": "/b", **more}])


@pytest.mark.parametrize(
    "scene",
    [{"lights": 1}, {"/a/*": 1}, {"/a//b": 1}, {"/a": HUGE}, {"/a": tomllib.loads("a = 07:00:00")["a"]}, {"/{1}": 1}],
)
def test_a_scene_that_cannot_be_recalled_is_a_problem(scene: dict[str, Any]) -> None:
    found: list[str] = []
    read_rules([], [], {"good": {"/a": 1, "/b": [0.5, "x"]}, "bad": scene}, lambda key, sentence: found.append(key))
    assert found == [f"scene.bad.{next(iter(scene))}"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[", "line 1"),
        (b'[\n{"id": "x"\n', "line 3"),
        (b"[" * 100_000, "nested"),
        (b'[{"id": "\\ud800", "trigger": "x"}]', "half a character"),
        (b"\xff", "not JSON"),
        (b"[" + b"9" * 5000 + b"]", "not an object"),
        (b"5", "must be a list"),
        (b'[{"id": "x", "trigger": {"OnChange": {"pattern": "/a"}}, "conditions": 5}]', "not a list"),
        (b'[{"id": "x", "trigger": {"OnChange": {"pattern": "/a"}}, "actions": 5}]', "not a list"),
        (b'[{"id": "x", "trigger": {"OnChange": {"pattern": "/a"}}, "cooldown": [[], 0]}]', "secs"),
        (b'[{"id": "x", "trigger": {"OnChange": {}, "OnEvent": {}}}]', "one name"),
        (b'[{"name": "x", "trigger": {}}]', "convert"),
    ],
)
def test_json_that_holds_no_rules(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "rules.json"
    file.write_bytes(content)
    with pytest.raises(NotRules, match=said):
        read_file(file, lambda remark: None)


def test_of_two_rules_with_one_id_the_last_counts_as_in_the_reference(tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    rule = {"id": "x", "trigger": {"OnEvent": {"pattern": "/a"}}, "actions": [{"Publish": {"address": "/1"}}]}
    file.write_text(json.dumps([rule, {**rule, "actions": [{"Publish": {"address": "/2"}}]}]))
    remarks: list[str] = []
    [table] = read_file(file, remarks.append)
    assert table["do"][0]["publish"] == "/2"
    assert "more than once" in remarks[0]


def test_a_problem_in_a_file_is_named_with_file_line_and_rule(tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    good = '{"id": "good", "trigger": {"OnEvent": {"pattern": "/a"}}, "actions": [{"Publish": {"address": "/b"}}]}'
    bad = '{"name": "n",\n "id": "bad",\n "trigger": {"OnInterval": {"seconds": 0}}}'
    file.write_text(f"[\n{good},\n{bad}]")
    _, problems, _ = read_all([], [], {}, [str(file)])
    assert any(where.startswith(f'{file}:4: rule "bad".trigger') for where, _ in problems), problems


def test_thousands_of_problems_are_not_all_told() -> None:
    _, problems, _ = read_all([{"id": f"r{number}"} for number in range(10_000)], [], {}, [])
    assert len(problems) == MAX_TOLD + 1
    assert "more problems" in problems[-1][1]


WORDS = st.sampled_from(
    [
        "on_change",
        "on_event",
        "on_interval",
        "on_threshold",
        "set",
        "publish",
        "set_from_trigger",
        "delay",
        "Identity",
        "scale",
        "eq",
        "Eq",
        "/a",
        "/a/**",
        "event",
        "param",
        "both",
        "interval",
        "timer",
        "x",
    ]
)
LEAF = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS, st.text(max_size=4), st.just(HUGE))
KEYS = st.sampled_from(
    [
        "id",
        "name",
        "enabled",
        "trigger",
        "conditions",
        "actions",
        "cooldown",
        "type",
        "OnChange",
        "OnThreshold",
        "OnEvent",
        "OnInterval",
        "pattern",
        "address",
        "above",
        "below",
        "seconds",
        "op",
        "operator",
        "value",
        "Set",
        "Publish",
        "SetFromTrigger",
        "Delay",
        "transform",
        "signal",
        "milliseconds",
        "secs",
        "nanos",
        "delayMs",
        "direction",
        "event",
        "threshold",
    ]
)
ANY = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=20
)
ROW = st.fixed_dictionaries(
    {},
    optional={
        "id": LEAF,
        "enabled": LEAF,
        "trigger": ANY | st.fixed_dictionaries({"type": WORDS}, optional={"pattern": LEAF, "seconds": LEAF}),
        "conditions": ANY,
        "actions": ANY | st.lists(st.fixed_dictionaries({"type": WORDS}, optional={"address": LEAF, "value": ANY})),
        "cooldown": ANY,
    },
)


@settings(deadline=None, max_examples=examples(200))
@given(st.lists(ROW, max_size=3) | ANY)
def test_any_json_is_rules_or_a_sentence(found: Any) -> None:
    for reader in (tables_of, convert):
        tables = None
        with contextlib.suppress(NotRules):
            tables = reader(found, lambda remark: None)
        if tables is None:
            continue
        rules = read_rules(tables, [], {}, lambda *one: None)
        world = DryRun(lambda line: None)
        world.load(rules)
        world.start()
        world.set("/a", 1)
        world.publish_from_outside("event", "/a", 2.5)
        world.pass_time(1)


VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=examples(200))
@given(VALUES, st.text(max_size=6))
def test_what_convert_writes_is_toml_that_says_the_same(value: Any, name: str) -> None:
    rule = {"id": "x", "name": name, "trigger": {"OnChange": {"pattern": "/a"}}}
    [table] = tables_of([{**rule, "actions": [{"Set": {"address": "/b", "value": value}}]}], lambda remark: None)
    [back] = tomllib.loads(command._table(table))["rule"]
    assert back == table
    assert repr(back["do"]) == repr(table["do"])


def test_convert_does_not_write_what_means_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rules.json"
    rule = {"id": "x", "trigger": {"OnChange": {"pattern": "/a"}}}
    file.write_text(json.dumps([{**rule, "actions": [{"Set": {"address": "/b", "value": None}}]}]))
    assert command.convert(file) == command.EXIT_WRONG
    assert "null" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        "rule = 5",
        "[rule]\nid = 1",
        "rule = [1]",
        "map = {}",
        "scene = [1]",
        "[scene]\na = 1",
        "rules.files = 3",
        "rules.files = [1]",
        "rules = 3",
    ],
)
def test_rules_test_says_what_is_wrong_with_a_file(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "show.toml"
    file.write_text(content)
    monkeypatch.setattr("sys.stdin", [])
    status = command.test(file)
    told = capsys.readouterr().err
    assert status == command.EXIT_WRONG
    assert str(file) in told
