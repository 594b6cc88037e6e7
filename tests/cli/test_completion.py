"""Completion and the manual page: made from the parser, so nothing of it is missing, and a shell takes them."""

from __future__ import annotations

import subprocess

import pytest
from support.console import clasp_edge

from clasp_edge.cli import completion
from clasp_edge.cli.arguments import parser

COMMANDS = [command.words for command in completion.commands_of(parser())]


@pytest.mark.parametrize("kind", completion.KINDS)
def test_every_command_is_in_it(kind: str) -> None:
    text = clasp_edge("completion", kind).stdout
    assert ("get",) in COMMANDS
    assert ("osc", "send") in COMMANDS
    for words in COMMANDS:
        assert words[-1].replace("-", "\\-" if kind == "man" else "-") in text


def completed(*words: str) -> list[str]:
    """What bash offers for the last word."""
    script = completion.bash(parser())
    line = " ".join(f"'{word}'" for word in ("clasp-edge", *words))
    ask = f"COMP_WORDS=({line}); COMP_CWORD={len(words)}; _clasp_edge; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(
        ["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True, timeout=20, cwd="/"
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_actions_and_options() -> None:
    assert completed("dis") == ["discover"]
    assert set(completed("osc", "")) >= {"send", "dump"}
    assert completed("osc", "send", "--t") == ["--to"]
    assert "--json" in completed("get", "--")
    assert "--json" in completed("get", "/a", "--")
    assert "--json" not in completed("set", "/a", "--")
    assert completed("get", "/et") == ["/etc"]


def test_troff_takes_the_manual_page() -> None:
    page = completion.man(parser())
    done = subprocess.run(
        ["groff", "-man", "-Tascii", "-P-c", "-P-b", "-P-u", "-ww"],
        input=page,
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert done.stderr == ""
    assert "clasp-edge osc send ADDRESS [VALUE]" in done.stdout
    assert "%(" not in page
