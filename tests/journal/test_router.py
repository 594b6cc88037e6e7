"""The journal of a running router: what survives its end, what strict mode promises, what REPLAY answers."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.client import TcpClient, WsClient
from support.daemon import Daemon
from support.live import Crowd, eventually, get, of_type, put, subscribe

from clasp_edge import wire
from clasp_edge.wire import Qos, SignalType

TOKENS = """
[security]
mode = "authenticated"
[[security.token]]
token = "all"
scopes = ["admin:/**"]
[[security.token]]
token = "part"
scopes = ["read:/a/**", "write:/c/**"]
[[security.token]]
token = "wide"
scopes = ["read:/**"]
[journal]
mode = "group"
"""


def replay(client: WsClient, pattern: str = "/**", **fields: object) -> list[wire.Message]:
    """Everything up to the ACK."""
    client.send(wire.Replay(pattern=pattern, **fields), Qos.CONFIRM)  # type: ignore[arg-type]
    found: list[wire.Message] = []
    while True:
        message = client.recv()
        if isinstance(message, wire.Ack | wire.Error):
            return [*found, message]
        found.append(message)


def values(messages: list[wire.Message]) -> list[object]:
    return [message.value for message in messages if isinstance(message, wire.Set | wire.Publish)]


def greeted(daemon: Daemon, token: str | None = None) -> WsClient:
    client = WsClient(daemon.ws_url)
    client.hello(token=token)
    client.sync()
    return client


@pytest.mark.parametrize("mode", ["group", "strict", "volatile"])
def test_params_survive_the_end(mode: str) -> None:
    with Daemon(sets={"journal.mode": mode}) as daemon:
        with greeted(daemon) as client:
            for number in range(100):
                put(client, f"/a/{number % 10}", number)
            before = [get(client, f"/a/{number}") for number in range(10)]
        daemon.stop()
        daemon.start()
        with greeted(daemon) as client:
            assert [get(client, f"/a/{number}") for number in range(10)] == before
            assert put(client, "/a/0", 1).revision == 11


def test_the_modes_are_told_at_start() -> None:
    with Daemon(sets={"journal.mode": "strict"}) as daemon:
        assert "what is acknowledged survives a power cut" in daemon.stdout
        with greeted(daemon) as client:
            found = {name: get(client, f"/clasp-edge/journal/{name}") for name in ("state", "mode", "bytes_per_day")}
            assert all(found.values())


def test_what_expires_stays_away_and_what_lives_keeps_its_deadline() -> None:
    with Daemon(sets={"journal.mode": "strict"}) as daemon:
        with greeted(daemon) as client:
            put(client, "/short", 1, ttl=wire.Ttl(wire.TtlMode.ABSOLUTE, 1))
            put(client, "/long", 1, ttl=wire.Ttl(wire.TtlMode.ABSOLUTE, 1000))
            put(client, "/ever", 1, ttl=wire.Ttl(wire.TtlMode.NEVER))
            assert eventually(lambda: get(client, "/short") is None)
            put(client, "/after", 1)  # acknowledged when it is stored, and with it that the other one is gone
        daemon.restart()
        with greeted(daemon) as client:
            assert get(client, "/short") is None
            assert get(client, "/long") is not None
            assert get(client, "/ever") is not None


def test_strict_keeps_the_order_of_replies() -> None:
    with Daemon(sets={"journal.mode": "strict"}) as daemon:
        crowd = Crowd(daemon)
        client, other = crowd.ws(), crowd.ws()
        subscribe(other, "/a")
        for number in range(50):
            client.send(wire.Set("/a", number), Qos.CONFIRM)
            client.send(wire.Ping())
            client.send(wire.Get("/a"))
        kinds = [type(client.recv()).__name__ for _ in range(150)]
        assert kinds == ["Ack", "Pong", "Snapshot"] * 50
        assert [other.recv_type(wire.Set).value for _ in range(50)] == list(range(50))
        crowd.leave()


def test_a_bundle_is_acknowledged_when_it_is_stored() -> None:
    with Daemon(sets={"journal.mode": "strict"}) as daemon:
        with greeted(daemon) as client:
            bundle = wire.Bundle(messages=[wire.Set("/a", 1), wire.Set("/b", 2)])
            client.send(bundle, Qos.CONFIRM)
            client.recv_type(wire.Ack)
            daemon.kill()
        daemon.start()
        with greeted(daemon) as client:
            assert [get(client, address).value for address in ("/a", "/b")] == [1, 2]  # type: ignore[union-attr]


def test_replay_with_limits_times_and_types() -> None:
    with Daemon(sets={"journal.mode": "group", "limits.gesture_coalesce_ms": 0}) as daemon:
        with greeted(daemon) as client:
            for number in range(10):
                put(client, "/a/x", number)
            client.send(wire.Publish(address="/a/cue", signal=SignalType.EVENT, value="go"))
            client.send(wire.Publish(address="/a/wave", signal=SignalType.STREAM, samples=[1.0, 2.0]))
            client.send(
                wire.Publish(address="/a/pen", signal=SignalType.GESTURE, phase=wire.Phase.START, id=7, value=[1, 2])
            )
            client.sync()
            now_us = time.time_ns() // 1000
            found = replay(client)
            assert values(found) == [*range(10), "go", [1, 2]]
            pen = found[-2]
            assert isinstance(pen, wire.Publish)
            assert (pen.id, pen.phase) == (7, wire.Phase.START)
            assert found[-1] == wire.Ack(address="/**", revision=12)
            assert values(replay(client, limit=3)) == [0, 1, 2]
            assert values(replay(client, types=[SignalType.EVENT])) == ["go"]
            assert values(replay(client, from_=now_us + 1_000_000)) == []
            assert values(replay(client, to=now_us, limit=1)) == [0]
            assert values(replay(client, "/a/*e*", limit=1)) == ["go"]
            assert replay(client, "/none")[-1] == wire.Ack(address="/none", revision=0)
            client.send(wire.Replay(pattern="/a/cue"), Qos.FIRE)
            time.sleep(0.1)
            assert [type(m) for m in client.sync()] == [wire.Publish]
        daemon.restart()
        with greeted(daemon) as client:
            assert values(replay(client)) == [*range(10), "go", [1, 2]]
            put(client, "/a/x", 10)
            assert replay(client, "/a/x")[-1] == wire.Ack(address="/a/x", revision=13)


def test_history_goes_back_behind_the_start() -> None:
    # Several starts, and the last end is a kill: what is asked for comes from different ones of them.
    with Daemon(sets={"journal.mode": "strict"}) as daemon:
        for start in range(3):
            with greeted(daemon) as client:
                client.send(wire.Publish(address="/cue", signal=SignalType.EVENT, value=f"go {start}"))
                for number in range(4):
                    put(client, "/a", start * 4 + number)
                put(client, "/b", start)
            if start < 2:
                daemon.stop()
                daemon.start()
        daemon.restart()
        with greeted(daemon) as client:
            found = subscribe(client, "/a", history=6)
            assert [message.value for message in of_type(found, wire.Set)] == [6, 7, 8, 9, 10, 11]
            found = subscribe(client, "/**", history=2)
            assert [message.value for message in of_type(found, wire.Publish)] == ["go 1", "go 2"]
            values_of = {
                address: [m.value for m in of_type(found, wire.Set) if m.address == address] for address in ("/a", "/b")
            }
            assert values_of == {"/a": [10, 11], "/b": [1, 2]}


def test_replay_shows_what_the_scopes_allow_and_no_more() -> None:
    with Daemon(config=TOKENS, sets={"journal.mode": "group"}) as daemon:
        with greeted(daemon, "all") as client:
            for address in ("/a/1", "/b/1", "/a/2"):
                put(client, address, address)
        with greeted(daemon, "part") as client:
            assert values(replay(client, "/a/**")) == ["/a/1", "/a/2"]
            error = replay(client, "/**")[-1]
            assert isinstance(error, wire.Error)
            assert error.code == 301


def test_a_replay_under_way_shows_nothing_that_was_taken_from_the_token() -> None:
    sets = {"journal.mode": "group", "journal.buffer_kib": 32768}
    with (
        Daemon(tcp=True, config=TOKENS, sets=sets) as daemon,
        TcpClient(daemon.tcp_address) as writer,
        TcpClient(daemon.tcp_address) as reader,
    ):
        writer.hello(token="all")
        reader.hello("reader", token="wide")
        for number in range(500):
            writer.send(wire.Set("/a/x", "x" * 20_000 + str(number)), Qos.FIRE)
            writer.send(wire.Set("/b/x", "x" * 20_000 + str(number)), Qos.FIRE)
        writer.sync()
        reader.send(wire.Replay(pattern="/**"), Qos.CONFIRM)
        assert reader.recv_until(wire.Set).address == "/a/x"
        (daemon.directory / "clasp-edge.toml").write_text(TOKENS.replace('["read:/**"]', '["read:/a/**"]'))
        daemon.hangup()
        eventually(lambda: "reload: applied" in daemon.stderr)
        count = {"/a/x": 0, "/b/x": 0}
        while not isinstance(message := reader.recv(), wire.Ack):
            if isinstance(message, wire.Set):
                count[message.address] += 1
        assert count["/a/x"] == 499
        assert count["/b/x"] < 300, "what was under way already, in the kernel"


def test_a_long_replay_blocks_nobody_and_costs_no_memory() -> None:
    with Daemon(tcp=True, sets={"journal.mode": "group"}) as daemon:
        crowd = Crowd(daemon)
        writer, reader, slow = crowd.tcp(), crowd.ws(), crowd.tcp()
        for _ in range(20):
            for number in range(50):
                writer.send(wire.Set("/a", "x" * 10_000 + str(number)), Qos.FIRE)
            writer.sync()
            time.sleep(0.05)  # the log has room for two megabytes that wait for the disk
        time.sleep(0.3)
        before = _rss(daemon.pid)
        for _ in range(8):
            slow.send(wire.Replay(pattern="/**"), Qos.CONFIRM)
        slow.send(wire.Replay(pattern="/**"), Qos.CONFIRM)  # one more than there may be
        for number in range(50):
            assert put(reader, "/b", number).revision == number + 1
        assert _rss(daemon.pid) - before < 24_000
        received = 0
        refused = 0
        acks = 0
        while acks < 8:
            message = slow.recv()
            received += isinstance(message, wire.Set)
            acks += isinstance(message, wire.Ack)
            refused += isinstance(message, wire.Error)
        assert received >= 8 * 1000
        assert refused == 1
        crowd.leave()


def _rss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


def test_patterns_select_what_is_logged_and_nothing_of_what_is_kept() -> None:
    sets = {"journal.mode": "strict", "journal.patterns": '["/log/**"]', "journal.signals": '["param"]'}
    with Daemon(sets=sets) as daemon:
        with greeted(daemon) as client:
            put(client, "/log/a", 1)
            put(client, "/other", 2)
            client.send(wire.Publish(address="/log/e", signal=SignalType.EVENT, value=3))
            assert values(replay(client)) == [1]
        daemon.restart()
        with greeted(daemon) as client:
            assert get(client, "/other") is not None
            assert values(replay(client)) == [1]


def test_what_replays_are_charged_is_given_back() -> None:
    """With all that they take together nobody would have room: some 60 MiB here."""
    pattern = "/a" * 63 + "/*"
    with Daemon(sets={"journal.mode": "group"}) as daemon, greeted(daemon) as client:
        for _ in range(250):
            for _ in range(8):
                client.send(wire.Replay(pattern=pattern), Qos.CONFIRM)
            for _ in range(8):
                assert isinstance(client.recv(), wire.Ack)


def test_without_a_log_there_is_nothing_to_replay() -> None:
    with Daemon(sets={"journal.mode": "volatile"}) as daemon, greeted(daemon) as client:
        error = replay(client)[-1]
        assert isinstance(error, wire.Error)
        assert error.code == 501


def test_an_idle_journal_neither_writes_nor_wakes() -> None:
    with Daemon(sets={"journal.mode": "group"}) as daemon:
        with greeted(daemon) as client:
            put(client, "/a", 1)
        time.sleep(0.5)
        size = (daemon.data_dir / "journal" / "data.mdb").stat()
        time.sleep(1)
        assert (daemon.data_dir / "journal" / "data.mdb").stat().st_mtime_ns == size.st_mtime_ns
