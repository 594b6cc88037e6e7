"""Each test that docs/security.md names for a weakness is there."""

from __future__ import annotations

import re

from support.daemon import PROJECT_ROOT


def test_the_tests_of_the_table_exist() -> None:
    text = (PROJECT_ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"\| `([\w/]+\.py)`: `(\w+)` \|$", text, re.MULTILINE)
    assert len(named) > 20
    for file, test in named:
        source = (PROJECT_ROOT / "tests" / file).read_text(encoding="utf-8")
        assert f"def {test}(" in source, (file, test)
