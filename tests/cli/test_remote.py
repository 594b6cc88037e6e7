"""The commands that talk to a router as a client, as a person types them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from support.client import WsClient
from support.daemon import Daemon

from clasp_edge import wire
from clasp_edge.cli.main import main


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon() as running:
        yield running


def typed(daemon: Daemon, *words: str, told: str | None = None) -> subprocess.CompletedProcess[str]:
    """What a process would print and end with, without the half second that one takes to begin."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
        patched.setenv("CLASP_EDGE_URL", daemon.ws_url)
        patched.setattr(sys, "stdin", io.StringIO(told or ""))
        status = main(words)
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())


def test_a_param_is_set_read_and_forgotten(daemon: Daemon) -> None:
    assert typed(daemon, "set", "/cli/a", "1.5").returncode == 0
    assert typed(daemon, "set", "/cli/b", '{"x": [1, true, null]}').returncode == 0
    assert typed(daemon, "set", "/cli/c", "plain words").returncode == 0
    assert typed(daemon, "get", "/cli/a").stdout == "1.5\n"
    listed = typed(daemon, "get", "/cli/*").stdout.splitlines()
    assert listed == ["/cli/a 1.5", '/cli/b {"x": [1, true, null]}', '/cli/c "plain words"']
    described = json.loads(typed(daemon, "get", "/cli/a", "--json").stdout)
    assert (described["address"], described["value"], described["revision"]) == ("/cli/a", 1.5, 1)
    assert typed(daemon, "unset", "/cli/a").returncode == 0
    gone = typed(daemon, "get", "/cli/a")
    assert gone.returncode == 1
    assert "/cli/a" in gone.stderr


def test_watch_prints_state_and_what_happens(daemon: Daemon) -> None:
    typed(daemon, "set", "/w/there", "1")
    environment = os.environ | {"CLASP_EDGE_URL": daemon.ws_url}
    line = [sys.executable, "-m", "clasp_edge", "watch", "/w/**", "--json", "--count", "3", "--for", "60"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment) as watching:
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        assert (first["kind"], first["address"], first["value"]) == ("state", "/w/there", 1)
        typed(daemon, "emit", "/w/go", '"now"')
        typed(daemon, "set", "/w/new", "2")
        rest = [json.loads(text) for text in watching.stdout]
    kinds = [(row["kind"], row["address"], row["value"]) for row in rest]
    assert kinds == [("event", "/w/go", "now"), ("set", "/w/new", 2)]


def test_a_bundle_is_all_or_nothing(daemon: Daemon) -> None:
    assert typed(daemon, "bundle", told="# two\nset /bundle/a 1\nset /bundle/b 2\n").returncode == 0
    assert typed(daemon, "get", "/bundle/b").stdout == "2\n"
    assert typed(daemon, "bundle", told="set /bundle/c 1\nset /clasp-edge/x 2\n").returncode == 1
    assert typed(daemon, "get", "/bundle/c").returncode == 1
    wrong = typed(daemon, "bundle", told="set /bundle/d\n")
    assert wrong.returncode == 1
    assert "line 1" in wrong.stderr


def test_a_scene_is_kept_shown_and_restored(daemon: Daemon, tmp_path: Path) -> None:
    file = str(tmp_path / "scene")
    typed(daemon, "set", "/scene/a", "1")
    typed(daemon, "set", "/scene/b", '"x"')
    assert typed(daemon, "backup", file, "/scene/**").stdout.startswith("2 params")
    typed(daemon, "set", "/scene/a", "7")
    looked = typed(daemon, "restore", file, "--dry-run").stdout
    assert looked == "/scene/a: 7 -> 1\n1 of 2 params change\n"
    assert typed(daemon, "get", "/scene/a").stdout == "7\n"
    assert typed(daemon, "restore", file, told="n\n").returncode == 1
    assert typed(daemon, "restore", file, "--yes").returncode == 0
    assert typed(daemon, "get", "/scene/a").stdout == "1\n"


def test_a_scene_is_not_replaced_by_nothing(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "scene"
    typed(daemon, "set", "/scene/a", "1")
    typed(daemon, "backup", str(file), "/scene/**")
    kept = file.read_text()
    mistyped = typed(daemon, "backup", str(file), "/scen/**")
    assert (mistyped.returncode, mistyped.stderr) == (
        1, "clasp-edge: there is no param /scen/**: nothing was written\n"
    )  # fmt: skip
    assert file.read_text() == kept


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_are_read_as_windows_writes_them(daemon: Daemon, tmp_path: Path, encoding: str) -> None:
    """Notepad puts a mark before the text; what PowerShell redirects is UTF-16."""
    file = tmp_path / "file"
    for text, words in (
        ('{"address": "/wide/a", "value": "ü"}\r\n', ("restore", "--yes", str(file))),
        ('set /wide/b 2\r\nset /wide/c "x"\r\n', ("bundle", str(file))),
        ("a-token\r\n", ("set", "--token-file", str(file), "/wide/d", "4")),
    ):
        file.write_bytes(text.encode(encoding))
        done = typed(daemon, *words)
        assert (done.returncode, done.stderr) == (0, "")
    assert typed(daemon, "get", "/wide/*").stdout == '/wide/a "ü"\n/wide/b 2\n/wide/c "x"\n/wide/d 4\n'
    for name in ("a", "b", "c", "d"):
        typed(daemon, "unset", f"/wide/{name}")


def test_texts_with_what_else_ends_lines_come_back_and_move_no_cursor(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "scene"
    value = "one\u2028two\x85three\x9b2J\x7f\x0b ü"
    assert typed(daemon, "bundle", told=f"set /ends/\x9bb {json.dumps(value, ensure_ascii=False)}\n").returncode == 0
    shown = typed(daemon, "get", "/ends/*").stdout
    assert shown.removesuffix("\n").isprintable()
    assert json.loads(shown.partition(" ")[2]) == value
    assert typed(daemon, "backup", str(file), "/ends/**").returncode == 0
    # As earlier versions wrote it.
    file.write_text(json.dumps(json.loads(file.read_text()), ensure_ascii=False) + "\n")
    changed = typed(daemon, "set", "/ends/\x9bb", "1")
    assert (changed.returncode, changed.stderr) == (0, "")
    restored = typed(daemon, "restore", str(file), "--yes")
    assert (restored.returncode, restored.stderr) == (0, "")
    assert restored.stdout.replace("\n", "").isprintable()
    assert typed(daemon, "get", "/ends/*").stdout == shown


def test_a_scene_with_more_params_than_the_rate_allows_is_restored(tmp_path: Path) -> None:
    file = tmp_path / "scene"
    file.write_text("".join(f'{{"address": "/many/{number}", "value": {number}}}\n' for number in range(130)))
    with Daemon(messages_per_second=100) as slow:
        done = typed(slow, "restore", str(file), "--yes")
        assert (done.returncode, done.stderr) == (0, "")
        assert len(typed(slow, "get", "/many/*").stdout.splitlines()) == 130


def test_a_busy_tree_is_read_all_the_same(daemon: Daemon) -> None:
    """What is written meanwhile does not keep a reader waiting for the end."""
    typed(daemon, "set", "/busy/a", "null")
    over = threading.Event()

    def write() -> None:
        with WsClient(daemon.ws_url) as client:
            client.hello("fader")
            number = 0
            while not over.wait(0.01):
                client.send(wire.Set("/busy/b", number), qos=0)
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = typed(daemon, "get", "/busy/*")
    finally:
        over.set()
        writer.join()
    assert found.returncode == 0
    assert "/busy/a null" in found.stdout


def test_null_is_a_value(daemon: Daemon, tmp_path: Path) -> None:
    file = str(tmp_path / "scene")
    typed(daemon, "set", "/null/a", "null")
    assert json.loads(typed(daemon, "get", "/null/a", "--json").stdout)["value"] is None
    typed(daemon, "backup", file, "/null/**")
    typed(daemon, "set", "/null/a", "7")
    assert typed(daemon, "restore", file, "--yes").stdout.startswith("/null/a: 7 -> null\n")
    assert typed(daemon, "get", "/null/a").stdout == "null\n"


def test_no_router_a_wrong_token_and_what_the_router_refuses(daemon: Daemon) -> None:
    nobody = typed(daemon, "get", "/a", "--url", "ws://127.0.0.1:1")
    assert nobody.returncode == 3
    assert "nothing listens" in nobody.stderr
    refused = typed(daemon, "set", "/clasp-edge/x", "1")
    assert refused.returncode == 1
    assert "301" in refused.stderr
    sets = {"security.mode": "authenticated"}
    config = '[[security.token]]\ntoken = "a-long-enough-token"\nscopes = ["read:/**"]\n'
    with Daemon(sets=sets, config=config) as locked:
        assert "300" in typed(locked, "get", "/a").stderr
        assert typed(locked, "get", "/a", "--token", "a-long-enough-token").returncode == 1
        assert "301" in typed(locked, "set", "/a", "1", "--token", "a-long-enough-token").stderr


@pytest.mark.parametrize("words", [["watch"], ["get"], ["replay"], ["backup", "file"], ["restore", "file"]])
def test_what_is_no_pattern_is_a_wrong_call_and_nobody_is_asked(words: list[str]) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "clasp_edge", *words, "no-slash", "--url", "ws://127.0.0.1:1"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert found.returncode == 2, found.stderr
    assert "no-slash: invalid address" in found.stderr


def test_a_replay_claims_no_time_that_the_router_does_not_tell() -> None:
    with Daemon(sets={"journal.mode": "group"}) as kept:
        assert typed(kept, "set", "/told/a", "1").returncode == 0
        assert typed(kept, "emit", "/told/b", "2").returncode == 0
        rows = [json.loads(line) for line in typed(kept, "replay", "/told/**", "--json").stdout.splitlines()]
        assert rows == [
            {"kind": "set", "address": "/told/a", "value": 1},
            {"kind": "event", "address": "/told/b", "value": 2},
        ]
        shown = [line.split() for line in typed(kept, "replay", "/told/**").stdout.splitlines()]
        assert shown == [["set", "/told/a", "1"], ["event", "/told/b", "2"]]


def test_bench_says_what_a_limit_has_refused() -> None:
    with Daemon(messages_per_second=500) as limited:
        found = typed(limited, "bench", "--seconds", "0.5")
        assert found.returncode == 0, found.stderr
        assert "the router's rate limit refused" in found.stdout


def test_what_is_not_there_is_a_sentence(daemon: Daemon, tmp_path: Path) -> None:
    missing = tmp_path / "no.scene"
    refused = typed(daemon, "restore", str(missing))
    assert (refused.returncode, refused.stderr) == (1, f"clasp-edge: {missing}: No such file or directory\n")


def test_bench_measures(daemon: Daemon) -> None:
    found = typed(daemon, "bench", "--seconds", "0.3")
    assert "acknowledged SETs a second" in found.stdout
    assert typed(daemon, "get", "/clasp-bench/*").returncode == 1
