"""What is wrong in a rule is a sentence with the place it stands at."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from clasp_edge.rules.dialects import NotRules, convert, read_file, tables_of
from clasp_edge.rules.parse import read_rules
from clasp_edge.rules.table import Table
from clasp_edge.rules.transforms import _MAKERS, compile_transform

GOOD = {"id": "r", "trigger": {"type": "set", "pattern": "/a"}, "do": {"set": "/b"}}


def problems_of(*tables: Any, maps: Any = (), scenes: Any = None) -> list[str]:
    found: list[str] = []
    read_rules(tables, maps, scenes or {}, lambda key, sentence: found.append(f"{key}: {sentence}"))
    return found


@pytest.mark.parametrize(
    ("changed", "where", "says"),
    [
        ({"triger": 1}, "rule[0].triger", 'closest valid one is "trigger"'),
        ({"trigger": {"type": "chang", "pattern": "/a"}}, "rule[0].trigger.type", '"change"'),
        ({"trigger": {"type": "set", "pattern": "a"}}, "rule[0].trigger.pattern", ""),
        ({"trigger": {"type": "interval", "every_s": 0}}, "rule[0].trigger.every_s", "0.1"),
        ({"trigger": {"type": "threshold", "address": "/a"}}, "rule[0].trigger", "above"),
        ({"do": {"set": "/b", "value": 1, "from": "trigger"}}, "rule[0].do", "one of them"),
        ({"do": {"set": "b"}}, "rule[0].do.set", "begin"),
        ({"do": {"set": "/b/*"}}, "rule[0].do.set", "wildcards"),
        ({"do": {"set": "/b/{1}"}}, "rule[0].do.set", "nothing is captured"),
        ({"do": {"fade": "/b", "to": 1, "over_s": -1}}, "rule[0].do.over_s", "0"),
        (
            {"do": {"set": "/b", "transform": {"type": "clamp", "min": 2, "max": 1}}},
            "rule[0].do.transform.min",
            "greater",
        ),
        (
            {"do": {"set": "/b", "transform": {"type": "scale", "from_min": math.nan}}},
            "rule[0].do.transform.from_min",
            "number",
        ),
        ({"do": {"set": "/b", "expression": "().__class__"}}, "rule[0].do.expression", ""),
        ({"do": {"set": "/b", "expression": "9**9**9"}}, "rule[0].do.expression", ""),
        ({"do": {"set": "/b", "expression": "(" * 400}}, "rule[0].do.expression", ""),
        ({"do": {"cancel": "nobody"}}, "rule[0]", "no rule of that id"),
        ({"do": {"scene": "nothing"}}, "rule[0].do.scene", "no scene"),
        ({"when": {"address": "/a"}}, "rule[0].when", "comparison"),
        ({"when": {"address": "/a", "eq": 1, "gt": 2}}, "rule[0].when", "comparison"),
        ({"when": {"between_times": ["25:00", "06:00"]}}, "rule[0].when.between_times", "18:30"),
        ({"id": "/x"}, "rule[0].id", "letters"),
        ({"cooldown_s": math.inf}, "rule[0].cooldown_s", "number"),
    ],
)
def test_each_fault_is_named(changed: dict[str, Any], where: str, says: str) -> None:
    found = problems_of(GOOD | changed)
    assert any(line.startswith(where) and says in line for line in found), found


def test_two_rules_of_one_id() -> None:
    assert any("already the id" in line for line in problems_of(GOOD, GOOD))


def test_a_map_needs_as_many_wildcards_on_both_sides() -> None:
    assert any("as many wildcards" in line for line in problems_of(maps=[{"from": "/a/*", "to": "/b"}]))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["id", "trigger", "do", "when", "for_s", "run", "scopes"]), anything))
@settings(max_examples=examples(200), deadline=None)
def test_no_table_is_an_exception(table: dict[str, Any]) -> None:
    problems_of(table, maps=[table])


@given(st.sampled_from(sorted(_MAKERS)), st.lists(anything, min_size=1, max_size=5))
@settings(max_examples=examples(200), deadline=None)
def test_transforms_are_safe_on_every_input(kind: str, values: list[Any]) -> None:
    fields = {
        "min": 0, "max": 10, "factor": 0.5, "threshold": 1, "max_delta": 1, "value": 2, "divisor": 3, "exponent": 2.5,
        "steps": 4, "decimals": 2, "operation": "shift_left", "operand": 63, "to_type": "int", "path": "$.a[0]",
        "table": {"1": "one"}, "curve_type": "bounce_out", "transforms": [{"type": "invert"}], "expr": "1/(value-1)",
        "condition": {"type": "greater_than", "value": 1}, "if_true": {"type": "negate"},
    }  # fmt: skip
    ignored: list[str] = []
    transform = compile_transform(
        {"type": kind, **fields}, Table({"t": 1}, "here", lambda key, text: ignored.append(key)), "t"
    )
    memory: dict[int, float] = {}
    for value in values:
        result = transform(value, memory)
        if isinstance(result, float) and not isinstance(value, float):
            assert math.isfinite(result)


# ---- files of the reference ----


def test_its_three_forms_mean_the_same() -> None:
    crate = [
        {
            "id": "x", "name": "n", "enabled": True, "trigger": {"OnChange": {"pattern": "/in/*"}},
            "conditions": [{"address": "/mode", "op": "Eq", "value": 1}],
            "actions": [{"SetFromTrigger": {"address": "/out", "transform": {"Scale": {"scale": 2.0, "offset": 1.0}}}}],
            "cooldown": {"secs": 5, "nanos": 500_000_000},
        }
    ]  # fmt: skip
    documented = {
        "rules": [
            {
                "id": "x", "name": "n", "enabled": True, "trigger": {"type": "on_change", "pattern": "/in/*"},
                "conditions": [{"address": "/mode", "op": "eq", "value": 1}],
                "actions": [
                    {
                        "type": "set_from_trigger", "address": "/out",
                        "transform": {"type": "scale", "scale": 2.0, "offset": 1.0},
                    }
                ],
                "cooldown": 5.5,
            }
        ]
    }  # fmt: skip
    remarks: list[str] = []
    first, second = tables_of(crate, remarks.append), tables_of(documented, remarks.append)
    assert first == second
    assert problems_of(*first) == []


def test_what_means_something_else_is_said() -> None:
    remarks: list[str] = []
    tables_of(
        [
            {
                "id": "x",
                "trigger": {"OnThreshold": {"address": "/t", "above": 1}},
                "actions": [{"Delay": {"milliseconds": 5}}],
            }
        ],
        remarks.append,
    )
    assert len(remarks) == 2


@pytest.mark.parametrize(
    "text", ["", "[", '{"rules": 1}', "[1]", '[{"id": ""}]', '[{"id": "x", "trigger": {"a": 1, "b": 2}}]']
)
def test_a_bad_file_is_a_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    path.write_text(text)
    with pytest.raises(NotRules):
        read_file(path, lambda remark: None)


def test_the_desktop_export_is_named_and_converted() -> None:
    export = [
        {
            "name": "Fader up", "cooldown": 1500, "conditions": [],
            "trigger": {"type": "threshold", "address": "/f", "threshold": 0.5, "direction": "both"},
            "actions": [{"type": "set", "address": "/lamp", "value": 1, "delayMs": 250}],
        }
    ]  # fmt: skip
    with pytest.raises(NotRules, match="rules convert"):
        tables_of(export, lambda remark: None)
    [table] = convert(json.loads(json.dumps(export)), lambda remark: None)
    assert problems_of(table) == []
    assert table["cooldown_s"] == 1.5


def test_ten_thousand_rules_are_taken_and_one_more_is_not() -> None:
    assert any("a router takes" in line for line in problems_of(*[GOOD] * 10_001))
