"""Problems are named with the line they stand on."""

from __future__ import annotations

from pathlib import Path

import pytest

from clasp_edge.config.lines import line_of
from clasp_edge.config.sources import Sources

TEXT = """\
name = "a"
[limits]
max_sessions = 1
osc.listen = "off"

[[rule]]
id = "one"
trigger = { type = "interval", every_s = 0 }
do = [
  { set = "/a" },
]
note = '''
[[rule]]
id = "no"
'''

[[rule]]  # the second
"id" = "two"
[rule.trigger]
type = "set"

[uplink.foh]
url = "x"
"""


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("name", 1),
        ("limits", 2),
        ("limits.max_sessions", 3),
        ("limits.max_session", 2),
        ("limits.osc.listen", 4),
        ("rule[0]", 6),
        ("rule[0].trigger.every_s", 8),
        ("rule[0].do[0].set", 9),
        ("rule[1].id", 18),
        ("rule[1].trigger.type", 20),
        ("rule[1].do", 17),
        ("uplink.foh.url", 23),
        ("nothing", None),
    ],
)
def test_where_a_key_stands(key: str, line: int | None) -> None:
    assert line_of(TEXT, key) == line


def test_lists_go_on_over_several_files(tmp_path: Path) -> None:
    main, more = tmp_path / "edge.toml", tmp_path / "conf.d" / "rules.toml"
    more.parent.mkdir()
    main.write_text('[[rule]]\nid = "a"\n\n[[rule]]\nid = "b"\n', encoding="utf-8")
    more.write_text('# more\n[[rule]]\nid = "c"\n[[rule]]\nid = "d"\n', encoding="utf-8")
    sources = Sources(main)
    places = [sources.place_of(f"rule[{at}].id") for at in range(4)]
    assert [(str(place), place.line) for place in places] == [
        (str(main), 2),
        (str(main), 5),
        (str(more), 3),
        (str(more), 5),
    ]
