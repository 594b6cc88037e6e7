"""What comments and docs cite is there: `wire.md 2.3` is a heading, or an item of a numbered list under one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = ROOT / "docs" / "protocol"
PAGES = sorted(path.name for path in PROTOCOL.glob("*.md"))
SUFFIXES = {".py", ".pyx", ".pxd", ".pyi", ".md", ".toml", ".mjs"}

CITATION = re.compile(
    r"\b(wire|router|federation|security|journal-rules|discovery|quic)\.md[ ,]+"
    r"§?((?:[AB]?\d+(?:\.\d+)*[a-z]?)(?:(?:, | and | to |-)§?\d+\.\d+)*)"
)
NUMBER = re.compile(r"[AB]?\d+(?:\.\d+)*[a-z]?")


def citations(text: str) -> list[tuple[str, str]]:
    """(page, number) of each; `router.md 1.5 and 7.2` are two."""
    joined = re.sub(r"\n[ \t]*(?:#|\*|//)?[ \t]*", " ", text)
    return [(f"{name}.md", number) for name, numbers in CITATION.findall(joined) for number in NUMBER.findall(numbers)]


def targets(page: str) -> set[str]:
    """Every number that can be cited: of a heading, and of the items of the lists below it."""
    found: set[str] = set()
    section = top = ""
    for line in page.splitlines():
        if heading := re.match(r"#+ (?:Part )?([AB]?\d+(?:\.\d+)*[a-z]?)\b", line):
            section = heading[1]
            top = section.partition(".")[0]
            found |= {section, top}
        elif item := re.match(r"(\d+)\. ", line):
            found |= {f"{section}.{item[1]}", f"{top}.{item[1]}"}
    return found


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    return {name: targets((PROTOCOL / name).read_text("utf-8")) for name in PAGES}


def sources() -> list[Path]:
    folders = ("clasp_edge", "tests", "benchmarks", "docs", "image", "systemd", "hw_tests")
    return [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]


def test_every_citation_has_its_section(known: dict[str, set[str]]) -> None:
    read = [(path, cited) for path in sources() for cited in citations(path.read_text("utf-8"))]
    assert len(read) > 200
    wrong = sorted(
        f"{path.relative_to(ROOT)}: {page} {number}"
        for path, (page, number) in read
        if number not in known.get(page, ())
    )
    assert wrong == []


def test_a_citation_of_nothing_is_seen(known: dict[str, set[str]]) -> None:
    assert citations("# see wire.md 2.3\n# and router.md\n#   1.5 and 7.2, or security.md 10.3-10.8") == [
        ("wire.md", "2.3"),
        ("router.md", "1.5"),
        ("router.md", "7.2"),
        ("security.md", "10.3"),
        ("security.md", "10.8"),
    ]
    assert "2.3" in known["wire.md"]
    assert "99" not in known["wire.md"]
