"""Completion and the manual page: made from the parser, so nothing of it is missing, and a shell takes them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.client import WsClient
from support.console import clasp_edge
from support.daemon import Daemon
from support.live import put

from clasp_edge import wire
from clasp_edge.cli import completion
from clasp_edge.cli.arguments import parser
from clasp_edge.cli.main import main

COMMANDS = [command.words for command in completion.commands_of(parser())]


@pytest.mark.parametrize("kind", completion.KINDS)
def test_every_command_is_in_it(kind: str) -> None:
    text = clasp_edge("completion", kind).stdout
    assert ("get",) in COMMANDS
    assert ("osc", "send") in COMMANDS
    for words in COMMANDS:
        assert words[-1].replace("-", "\\-" if kind == "man" else "-") in text


EVIL = "/odd/a $(touch x);'?é"


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
    assert completed("check", "/et") == ["/etc"]
    assert completed("get", "--token-file", "/et") == ["/etc"]
    assert completed("emit", "--signal", "g") == ["gesture"]
    assert completed("token", "cap", "de") == ["delegate"]
    assert completed("osc", "send", "/et") == []
    assert completed("kick", "") == []


@pytest.fixture(scope="module")
def filled() -> Iterator[Daemon]:
    with Daemon() as running, WsClient(running.ws_url) as client:
        client.hello()
        client.sync()
        for address in ("/stage/lamp/1", "/stage/lamp/2", "/stage/fader", "/stage/fader/1", "/x:y/z", EVIL):
            put(client, address, 1)
        for number in range(300):
            client.send(wire.Set(f"/many/n{number}", 1), qos=0)
        client.sync()
        yield running


def test_addresses_are_those_of_the_router(
    filled: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLASP_EDGE_URL", filled.ws_url)

    def offered(*words: str) -> list[str]:
        assert main(["completion", "addresses", "--", *words]) == 0
        told, said = capsys.readouterr()
        assert said == ""
        return told.split()

    assert offered("get", "/stage/") == ["/stage/fader", "/stage/fader/", "/stage/lamp/"]
    assert offered("watch", "/a", "/stage/l") == ["/stage/lamp/"]
    assert offered("set", "--ttl", "5", "/stage/lamp/1") == ["/stage/lamp/1"]
    assert offered("get", "--url", "ws://127.0.0.1:1", "/stage/") == []
    assert offered("get", "--url", filled.ws_url, "stage") == []
    assert offered("get", "/many/n29") == ["/many/n29", *(f"/many/n29{digit}" for digit in range(10))]
    assert set(offered("get", "")) >= {"/stage/", "/x:y/"}
    # As bash asks, which has split what it was given at colons.
    program = tmp_path / "clasp-edge"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m clasp_edge "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    scheme, rest = filled.ws_url.split("://")
    host, port = rest.split(":")
    assert completed("get", "--url", scheme, ":", f"//{host}", ":", port, "/stage/l") == ["/stage/lamp/"]


def test_an_address_is_one_word_that_no_shell_carries_out(
    filled: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLASP_EDGE_URL", filled.ws_url)
    program = tmp_path / "clasp-edge"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m clasp_edge "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    script = completion.bash(parser())
    # What has been typed stands in the line as bash has escaped it.
    ask = 'COMP_WORDS=(clasp-edge get "$typed"); COMP_CWORD=2; _clasp_edge; eval "printf \'%s\\n\' ${COMPREPLY[*]}"'
    for typed in ("/odd/", r"/odd/a\ \$\("):
        done = subprocess.run(
            ["bash", "-c", f"{script}\n{ask}"],
            capture_output=True, check=True, timeout=40, cwd=tmp_path, env=os.environ | {"typed": typed},
        )  # fmt: skip
        assert (done.stdout.decode(), done.stderr) == (f"{EVIL}\n", b"")
    assert list(tmp_path.iterdir()) == [program]


def test_another_router_lists_no_levels_and_its_params_are_looked_at(
    filled: Daemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("clasp_edge.cli.typed_addresses._by_http", lambda *asked: None)
    assert main(["completion", "addresses", "--", "get", "--url", filled.ws_url, "/stage/"]) == 0
    assert capsys.readouterr().out.split() == ["/stage/fader", "/stage/fader/", "/stage/lamp/"]


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
