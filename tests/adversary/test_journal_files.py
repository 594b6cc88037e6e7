"""Journals and exports that were damaged or written by somebody else: said, never fatal, nothing of them believed."""

from __future__ import annotations

import base64
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.adversary import rounds
from support.console import clasp_edge
from support.daemon import Daemon
from support.federated import client
from support.live import get, put

from clasp_edge.wire import encode_value

GOOD: dict[str, Any] = {
    "address": "/a", "value": 1, "type": 5, "data": base64.b64encode(encode_value(1)[1]).decode(), "revision": 1,
    "writer": "somebody", "written_us": 1, "ttl": 0, "deadline_us": 0, "remaining_ms": 0, "qos": 1,
}  # fmt: skip


def journal(data_dir: Path, action: str, *arguments: str) -> tuple[int, str, str]:
    done = clasp_edge("journal", action, "--set", f"data_dir={data_dir}", *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def imported(data_dir: Path, *lines: str) -> tuple[int, str]:
    file = data_dir.parent / "export.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines))
    status, _, said = journal(data_dir, "import", str(file))
    return status, said


def test_a_line_as_export_writes_it_is_taken(tmp_path: Path) -> None:
    value_type, data = encode_value(1)
    assert GOOD["type"] == value_type
    assert base64.b64decode(GOOD["data"]) == data
    assert imported(tmp_path / "data", json.dumps(GOOD), json.dumps(GOOD)) == (0, "")
    assert json.loads(journal(tmp_path / "data", "export")[1])["address"] == "/a"


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            {"address": text}
            for text in ("/clasp-edge/x", "/a\0b", "/a/*", "//", "a", "", "/" + "a" * 70_000, "/\ud800")
        ),
        *({"revision": number} for number in (0, -1, 2**63, 2**64 - 1, 1.5, True, "1", float("inf"))),
        *({key: 2**70} for key in ("written_us", "ttl", "deadline_us", "remaining_ms", "type", "qos")),
        {"written_us": float("nan")},
        {"type": 99},
        {"type": 11},
        {"data": "AAAA"},
        {"data": "!"},
        {"data": base64.b64encode(b"\0" * 9).decode()},
        {"type": 9, "data": base64.b64encode(b"\xff\xff" + b"x" * 65_535).decode()},
        {"writer": "w" * 5000},
        {"writer": 5},
        {"mqtt": {"properties": "AA==", "payload": 5}},
        {"mqtt": []},
    ],
    ids=lambda wrong: repr(wrong)[:40],
)
def test_an_import_takes_nothing_that_a_client_could_not_have_said(tmp_path: Path, wrong: dict[str, Any]) -> None:
    status, said = imported(tmp_path / "data", json.dumps(GOOD), json.dumps(GOOD | wrong))
    assert status == 1
    assert "line 2: not a param of an export" in said
    assert not (tmp_path / "data" / "journal" / "data.mdb").exists()


@pytest.mark.parametrize("line", ["[" * 100_000, "5", "null", "x" * 3_000_000, "{}"], ids=lambda line: line[:4])
def test_an_import_of_what_is_no_export(tmp_path: Path, line: str) -> None:
    status, said = imported(tmp_path / "data", line)
    assert (status, "line 1: not a param of an export" in said) == (1, True)


def test_an_import_while_the_router_runs_is_refused_and_says_why(tmp_path: Path) -> None:
    with Daemon(sets={"journal.mode": "group"}) as daemon, client(daemon) as writer:
        put(writer, "/a", 2)
        status, said = imported(daemon.data_dir, json.dumps(GOOD))
        assert status == 2
        assert f"in use by another clasp-edge (process {daemon.pid})" in said
        assert "stop it before the import" in said
        param = get(writer, "/a")
        assert param is not None
        assert param.value == 2


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that a router has left."""
    kept = tmp_path_factory.mktemp("stored") / "data"
    with Daemon(sets={"journal.mode": "group"}) as daemon:
        with client(daemon) as writer:
            for number in range(300):
                put(writer, f"/a/{number % 40}", "x" * number)
        daemon.stop()
        shutil.copytree(daemon.data_dir, kept, ignore=shutil.ignore_patterns("*.sock"))
        daemon.start()
    return kept


def _damaged(stored: Path, tmp_path: Path, seeds: range) -> None:
    whole = (stored / "journal" / "data.mdb").read_bytes()
    for seed in seeds:
        random.seed(seed)
        bad = bytearray(whole)
        if seed % 3 == 0:
            del bad[random.randrange(len(bad)) :]
        else:
            for _ in range(random.choice((1, 20, 500))):
                bad[random.randrange(len(bad))] = random.randrange(256)
        data_dir = tmp_path / str(seed)
        for action in ("dump", "export", "verify", "stat", "tail"):
            shutil.rmtree(data_dir, ignore_errors=True)
            shutil.copytree(stored, data_dir)
            (data_dir / "journal" / "data.mdb").write_bytes(bad)
            status, _, said = journal(data_dir, action)
            assert status in (0, 1, 2), (seed, action, status, said)
            assert bool(said) or status == 0, (seed, action)


def test_a_damaged_journal_is_named_and_kills_nobody(stored: Path, tmp_path: Path) -> None:
    """Cut off, or with some bytes changed: no SIGBUS, no traceback, no endless reading."""
    _damaged(stored, tmp_path, range(rounds(4, 150)))
