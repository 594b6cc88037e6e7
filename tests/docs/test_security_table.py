"""Each test that docs/security.md names for a weakness is there."""

from __future__ import annotations

import re

from support.daemon import PROJECT_ROOT


def test_the_tests_of_the_table_exist() -> None:
    text = (PROJECT_ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"\| `([\w/]+\.py)`: `(\w+)` \|$", text, re.MULTILINE)
    assert len(named) >= 53 + 41
    for file, test in named:
        source = (PROJECT_ROOT / "tests" / file).read_text(encoding="utf-8")
        assert f"def {test}(" in source, (file, test)


def test_every_finding_has_its_row() -> None:
    text = (PROJECT_ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    for letter, count in (("R", 38), ("S", 16)):
        rows = re.findall(rf"^\| {letter}(\d+)[a-d]? \|", text, re.MULTILINE)
        assert {int(number) for number in rows} == set(range(1, count + 1))
