"""What the README and the docs tell to type: every command line is one that the program takes, every example runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import PROJECT_ROOT, Daemon
from support.javascript import installed
from support.needs import program

from clasp_edge.cli.arguments import parser
from clasp_edge.config.load import load_config

PAGES = [PROJECT_ROOT / "README.md", *sorted((PROJECT_ROOT / "docs").glob("*.md"))]
TIMEOUT_S = 60.0
SYNOPSIS = re.compile(r"[\[|<>]|\b[A-Z]{3,}\b")
"""A line that shows what can be typed in place of something that can."""


def blocks(page: Path) -> Iterator[str]:
    """The indented blocks of a page, without their indentation."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for found in re.finditer(r"(?:(?<=\n\n)|\A)((?: {4}.*\n|\n)+)", text):
        block = "\n".join(line[4:] for line in found[1].splitlines()).strip("\n")
        if block:
            yield block


def fenced(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGES[0].read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def commands(name: str) -> list[str]:
    """Every line that begins with this program, without what is said about it."""
    lines = (line for page in PAGES for block in blocks(page) for line in block.splitlines())
    plain = (re.sub(rf"^(.* \| |sudo |/\S*/)+(?={name}\s)", "", line) for line in lines)
    return sorted({re.split(r"\s{2,}| #", line)[0] for line in plain if re.match(rf"{name}\s", line)})


def test_command_lines_are_understood() -> None:
    read = commands("clasp-edge")
    assert len(read) > 10
    wrong = [line for line in read for words in typed(line) if not understood(words)]
    assert wrong == []


def test_commands_within_the_text_are_understood() -> None:
    """With what they need, or named without it."""
    texts = (re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL) for page in PAGES)
    read = sorted({" ".join(found.split()) for text in texts for found in re.findall(r"`(clasp-edge [^`]+)`", text)})
    assert len(read) > 10
    wrong = [
        line for line in read for words in typed(line) if not (understood(words) or understood([*words, "--help"]))
    ]
    assert wrong == []


def typed(line: str) -> Iterator[list[str]]:
    """What a line tells to type, without the program; of one that shows what can stand there, its commands' help."""
    words = shlex.split(re.split(r" [<>|] ", line)[0])[1:]
    if not SYNOPSIS.search(line):
        yield words
    elif words and words[0][0].islower():
        for name in words[0].split("|"):
            yield [name, "--help"]


def understood(words: list[str]) -> bool:
    try:
        parser().parse_args(words)
    except SystemExit as end:
        return end.code in (0, None)
    return True


def test_targets_of_make_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+(?: [a-z-]+)*):", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE))
    known = {name for names in targets for name in names.split()}
    read = commands("make")
    assert len(read) > 5
    assert [line for line in read if line.split()[1] not in known] == []


def test_configurations_are_accepted(tmp_path: Path) -> None:
    shown = [block for page in PAGES for block in blocks(page) if re.match(r"(#.*\n)*\[+[a-z]", block)]
    assert len(shown) > 5
    for number, block in enumerate(shown):
        path = tmp_path / f"{number}.toml"
        path.write_text(re.split(r"\n\n(?=[a-z]+ )", block)[0])
        load_config(path)


def test_the_python_example_prints_what_is_set(tmp_path: Path) -> None:
    with Daemon() as daemon:
        example = tmp_path / "example.py"
        example.write_text(fenced("python").replace("ws://localhost:7330", daemon.ws_url))
        done = subprocess.run([sys.executable, example], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    assert "/lights/1/level 0.75" in done.stdout


def test_the_javascript_example_prints_what_is_set() -> None:
    example = installed() / "readme-example.mjs"
    with Daemon() as daemon:
        example.write_text(fenced("js").replace("ws://localhost:7330", daemon.ws_url))
        with subprocess.Popen([program("node", "node"), example], stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "/lights/1/level 0.75\n"
            finally:
                process.kill()
                example.unlink()


@pytest.mark.parametrize("words", [("check",), ("config",), ("--version",)])
def test_commands_that_need_no_router_end_well(words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "clasp_edge", *words]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert (done.returncode, done.stderr, done.stdout != "") == (0, "", True)
