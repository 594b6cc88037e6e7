"""The trail: who logged in, what was refused, what administrators did; in the log and in the journal's audit stream."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import pytest
from console.test_ask import ask
from support.client import WsClient
from support.daemon import Daemon
from support.live import eventually

from clasp_edge import wire
from clasp_edge.clock import Clock
from clasp_edge.journal import audit
from clasp_edge.security.trail import MAX_KEYS, MAX_PER_MINUTE, PERIOD_S, Entry, Trail

CONFIG = """
[security]
mode = "authenticated"

[[security.token]]
token = "desk-token-of-the-test"
subject = "desk"
scopes = ["read:/**", "write:/lights/**"]

[[security.token]]
token = "admin-token-of-the-test"
subject = "boss"
scopes = ["admin:/**"]
"""


class StoppedClock(Clock):
    """Goes on when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_s(self) -> float:
        return 1_700_000_000.0 + self.now_s


def told(trail: Trail) -> list[Entry]:
    """What the trail keeps, as a list that grows."""
    found: list[Entry] = []
    trail.keep = lambda data: found.append(msgspec.json.decode(data, type=Entry))
    return found


def test_the_first_is_told_in_full_and_the_others_are_counted() -> None:
    clock = StoppedClock()
    trail = Trail(clock)
    found = told(trail)
    for port in range(40):
        trail.note("login refused", remote=f"10.0.0.1:{port}", reason="Invalid token")
    trail.note("login refused", remote="10.0.0.2:1", reason="Invalid token")
    assert [(one.remote, one.count) for one in found] == [("10.0.0.1:0", 1), ("10.0.0.2:1", 1)]
    clock.now_s += PERIOD_S
    trail.sweep()
    assert (found[-1].remote, found[-1].count) == ("10.0.0.1:39", 39)
    assert "(39 in the last minute)" in found[-1].text()
    trail.note("login refused", remote="10.0.0.1:7", reason="Invalid token")
    assert found[-1].count == 1


def test_many_strangers_cost_no_more_than_the_bound() -> None:
    clock = StoppedClock()
    trail = Trail(clock)
    found = told(trail)
    for number in range(5000):
        trail.note("login refused", remote=f"10.0.{number >> 8}.{number & 255}:1", reason="Invalid token")
    assert len(found) <= MAX_PER_MINUTE + 1
    clock.now_s += PERIOD_S
    trail.sweep()
    assert sum(one.count for one in found) == 5000
    assert len(trail._recent) <= MAX_KEYS


def test_what_a_stranger_says_stays_one_line() -> None:
    trail = Trail(StoppedClock())
    found = told(trail)
    trail.note("refused", client="evil\n2026-01-01 login: subject boss\x1b[2J", target="x" * 5000)
    assert "\n" not in found[0].text()
    assert "\x1b" not in found[0].text()
    assert len(found[0].text()) < 800


# ---- what is kept ----


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[lmdb.Environment]:
    with lmdb.open(str(tmp_path), map_size=1 << 24) as env:
        yield env


def numbers(env: lmdb.Environment) -> list[int]:
    with env.begin(buffers=True) as txn:
        return [one.number for one in audit.read(txn)]


def test_the_stream_has_a_size_of_its_own(environment: lmdb.Environment) -> None:
    limits = audit.Limits(10_000, 0)
    for _ in range(100):
        with environment.begin(write=True) as txn:
            audit.append(txn, [b"x" * 500], 1, True, limits)
    found = numbers(environment)
    assert found[-1] == 100
    assert 15 <= len(found) <= 20


def test_age_counts_only_where_the_clock_could_be_believed(environment: lmdb.Environment) -> None:
    limits = audit.Limits(0, 60)
    with environment.begin(write=True) as txn:
        audit.append(txn, [b"before the clock was set"], 0, False, limits)
        audit.append(txn, [b"old"], 10_000_000, True, limits)
    with environment.begin(write=True) as txn:
        audit.append(txn, [b"clock not set"], 500_000_000, False, limits)
    assert numbers(environment) == [1, 2, 3]
    with environment.begin(write=True) as txn:
        audit.append(txn, [b"new"], 500_000_000, True, limits)
    # The one before the clock was set is as old as what came after it.
    assert numbers(environment) == [3, 4]


def test_a_damaged_entry_costs_that_one(environment: lmdb.Environment) -> None:
    with environment.begin(write=True) as txn:
        audit.append(txn, [b"one", b"two", b"three"], 1, True, audit.Limits(1 << 20, 0))
        txn.put(b"A" + (2).to_bytes(8, "big"), b"rubbish")
    assert numbers(environment) == [1, 3]
    with environment.begin(write=True) as txn:
        audit.append(txn, [b"four"], 1, True, audit.Limits(1 << 20, 0))
    assert numbers(environment) == [1, 3, 4]


# ---- the whole router ----


def login(daemon: Daemon, token: str, name: str = "console") -> WsClient:
    client = WsClient(daemon.ws_url)
    client.send(wire.Hello(1, name, (), token=token))
    assert isinstance(client.recv(), wire.Welcome)
    return client


def entries(daemon: Daemon, *words: str) -> list[dict[str, Any]]:
    """What `journal audit` prints."""
    line = [sys.executable, "-m", "clasp_edge", "journal", "audit", "--json", *words]
    done = subprocess.run(
        [*line, "--set", f"data_dir={daemon.data_dir}"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(one) for one in done.stdout.splitlines()]


def test_who_did_what_is_there_after_a_restart() -> None:
    sets = {"journal.mode": "group", "journal.commit_interval_ms": 10}
    with Daemon(config=CONFIG, sets=sets) as daemon:
        stranger = WsClient(daemon.ws_url)
        stranger.send(wire.Hello(1, "stranger", (), token="guess"))
        assert isinstance(stranger.recv(), wire.Error)
        stranger.close()
        desk = login(daemon, "desk-token-of-the-test")
        desk.send(wire.Set("/sound/1", 1))
        while not isinstance(desk.recv(), wire.Error):
            pass
        boss = login(daemon, "admin-token-of-the-test", "laptop")
        for value in range(5):
            boss.send(wire.Set("/lights/1", value))
        boss.send(wire.Get("/lights/1"))
        while not isinstance(boss.recv(), wire.Snapshot):
            pass
        kick = [sys.executable, "-m", "clasp_edge", "kick", "console", "--set", f"data_dir={daemon.data_dir}"]
        assert subprocess.run(kick, timeout=30, check=False, capture_output=True).returncode == 0
        desk.close()
        boss.close()
        assert "login refused: address 127.0.0.1" in daemon.stderr
        daemon.stop()
        daemon.start()
        found = entries(daemon)
        events = [(one["event"], one.get("subject", ""), one.get("target", "")) for one in found]
        assert ("login", "desk", "") in events
        assert ("refused", "desk", "/sound/1") in events
        assert ("admin write", "boss", "/lights/1") in events
        assert ("kicked", "", "console") in events
        assert sum(one.get("count", 1) for one in found if one["event"] == "admin write") == 5
        assert [one["event"] for one in entries(daemon, "refused", "-n", "1")] == ["refused"]
        assert next(one for one in found if one["event"] == "login" and one["subject"] == "boss")["client"] == "laptop"
        assert next(one for one in found if one["event"] == "kicked")["client"].startswith("user ")


def test_the_author_of_a_record_is_the_subject() -> None:
    sets = {"journal.mode": "group", "journal.commit_interval_ms": 10}
    with Daemon(config=CONFIG, sets=sets) as daemon:
        desk = login(daemon, "desk-token-of-the-test")
        desk.send(wire.Publish("/lights/go", wire.SignalType.EVENT, value=1))
        desk.send(wire.Set("/lights/1", 0.5))
        desk.send(wire.Get("/lights/1"))
        while not isinstance(desk.recv(), wire.Snapshot):
            pass
        desk.close()
        daemon.stop()
        daemon.start()
        line = [sys.executable, "-m", "clasp_edge", "journal", "dump", "--json"]
        done = subprocess.run(
            [*line, "--set", f"data_dir={daemon.data_dir}"], capture_output=True, text=True, timeout=30, check=True
        )
        records = [json.loads(one) for one in done.stdout.splitlines()]
        writers = {one["address"]: one["writer"] for one in records if one["address"].startswith("/lights/")}
        assert writers == {"/lights/go": "desk", "/lights/1": "desk"}


def test_what_is_changed_on_the_page_is_told_with_the_token_and_the_reason() -> None:
    sets = {"journal.mode": "group", "journal.commit_interval_ms": 10}
    with Daemon(config=CONFIG, sets=sets) as daemon:
        bearer = {"Authorization": "Bearer admin-token-of-the-test"}
        for action in ("try", "undo"):
            asked = {"request": "settings", "action": action, "changes": {"limits.max_sessions": 50}}
            assert ask(daemon, asked, **bearer)[1]["ok"]
        rewrite(daemon, 10)
        daemon.hangup()
        eventually(lambda: len(changes(daemon)) == 3, 25)
        rewrite(daemon, 20)
        assert ask(daemon, {"request": "reload"}, **bearer)[1]["ok"]
        eventually(lambda: len(changes(daemon)) == 4, 25)
        assert changes(daemon) == ["settings on trial", "settings taken back", "SIGHUP", "reload on request"]
        tried = next(one for one in entries(daemon) if one["event"] == "settings try")
        assert (tried["subject"], tried["token"], tried["remote"]) == ("boss", "token[1]", "127.0.0.1 (page)")


def rewrite(daemon: Daemon, sessions: int) -> None:
    text = CONFIG + f"[limits]\nmax_sessions = {sessions}\n"
    (daemon.directory / "clasp-edge.toml").write_text(text, encoding="utf-8")


def changes(daemon: Daemon) -> list[str]:
    """Why the configuration was changed each time."""
    return [one["reason"] for one in entries(daemon) if one["event"] == "configuration changed"]
