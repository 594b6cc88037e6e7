"""SIGHUP: what changes under running clients, what does not, and what the log says about it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.certificates import Authority
from support.client import WsClient
from support.daemon import Daemon
from support.live import Crowd, eventually, get, of_type, put, refused, subscribe
from websockets.exceptions import InvalidStatus

from clasp_edge import wire
from clasp_edge.wire import SignalType

BASE = """
name = "before"
[limits]
max_subscriptions_per_session = 10
"""

TOKENS = """
[security]
mode = "authenticated"
[[security.token]]
token = "stays"
scopes = ["admin:/**"]
[[security.token]]
token = "goes"
scopes = ["admin:/**"]
"""


def config_of(daemon: Daemon) -> Path:
    return daemon.directory / "clasp-edge.toml"


def reload(daemon: Daemon, text: str) -> str:
    """Write the file, send SIGHUP, and return what the log says about it."""
    seen = len(daemon.stderr)
    config_of(daemon).write_text(text)
    daemon.hangup()
    return eventually(lambda: daemon.stderr[seen:] if "reload:" in daemon.stderr[seen:] else "")


def test_limits_and_state_change_under_running_clients() -> None:
    with Daemon(config=BASE) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        subscribe(client, "/kept/**", id=9)
        put(client, "/max/a", 1)
        log = reload(
            daemon,
            """
            name = "after"
            [limits]
            max_subscriptions_per_session = 2
            max_sessions = 2
            [state]
            param_ttl_s = 1
            [[state.strategy]]
            pattern = "/max/**"
            strategy = "max"
            """,
        )
        assert "applied: name, limits.max_sessions, limits.max_subscriptions_per_session, state.param_ttl_s" in log
        assert "needs a restart" not in log
        assert refused(client, "/max/a", 0).message == "ConflictRejected"
        assert subscribe(client, "/x", id=1) == []
        assert of_type(subscribe(client, "/y", id=2), wire.Error)[0].code == 429
        assert crowd.ws().welcome.name == "after"
        with pytest.raises(InvalidStatus):
            WsClient(daemon.ws_url)
        time.sleep(1.5)  # polling by GET would keep it alive
        assert get(client, "/max/a") is None
        client.send(wire.Set("/kept/a", 1))
        assert client.recv_type(wire.Set).address == "/kept/a"
        crowd.leave()


def test_the_rate_limit_changes_for_sessions_that_are_there() -> None:
    with Daemon(config="[limits]\nmessages_per_second = 0\n", messages_per_second=None) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        for _ in range(500):
            client.send(wire.Ping())
        assert len(client.drain()) == 500
        reload(daemon, "[limits]\nmessages_per_second = 20\n")
        for _ in range(100):
            client.send(wire.Ping())
        answers = client.drain()
        assert len(of_type(answers, wire.Pong)) < 40
        assert wire.Error(429, "Rate limit exceeded: 20 messages/second") in answers
        crowd.leave()


def test_what_needs_a_restart_is_named_and_left_alone() -> None:
    with Daemon(config=BASE) as daemon, WsClient(daemon.ws_url).hello() as client:
        log = reload(daemon, BASE + "arena_mib = 32\nhistory_kib = 7\n")
        assert "applied: nothing" in log
        assert "needs a restart: limits.arena_mib, limits.history_kib" in daemon.stderr
        assert client.sync() == []


@pytest.mark.parametrize("text", ["name = ", "nonsense = 1", "[limits]\nmax_sessions = -1\n"])
def test_a_bad_file_changes_nothing(text: str) -> None:
    with Daemon(config=BASE) as daemon:
        with WsClient(daemon.ws_url).hello() as client:
            log = reload(daemon, text)
            assert "was not changed" in log
            assert client.sync() == []
        with WsClient(daemon.ws_url).hello() as client:
            assert client.welcome.name == "before"


def test_a_revoked_token_ends_its_sessions_and_their_bundles() -> None:
    with Daemon(config=TOKENS) as daemon:
        crowd = Crowd(daemon)
        stays, goes = crowd.ws(token="stays"), crowd.ws(token="goes")
        subscribe(stays, "/**")
        now_us = time.time_ns() // 1000
        for sender in (goes, stays):
            event = wire.Publish(f"/from/{sender.welcome.session}", SignalType.EVENT)
            sender.send(wire.Bundle([event], timestamp=now_us + 2_500_000))
            assert sender.sync() == []
        reload(daemon, TOKENS.replace('"goes"', '"other"'))
        assert goes.recv() == wire.Error(300, "Token has been revoked")
        closed = goes.wait_closed()
        assert (closed.code, closed.reason) == (1008, "Token has been revoked")
        # What it had put into the schedule is cancelled, what others had is not.
        assert stays.recv_until(wire.Ack) == wire.Ack()
        assert stays.drain() == []
        crowd.leave()


def test_the_sender_of_a_cancelled_bundle_is_told() -> None:
    with Daemon(config=TOKENS) as daemon:
        crowd = Crowd(daemon)
        goes, stays = crowd.ws(token="goes"), crowd.ws(token="stays")
        subscribe(stays, "/**")
        bundle = wire.Bundle([wire.Set("/a", 1)], timestamp=time.time_ns() // 1000 + 600_000)
        goes.send(bundle)
        assert goes.sync() == []
        narrowed = TOKENS.replace('token = "goes"\nscopes = ["admin:/**"]', 'token = "goes"\nscopes = ["read:/**"]')
        reload(daemon, narrowed)
        error = goes.recv_type(wire.Error)
        assert error.code == 403
        assert error.message.startswith("Scheduled bundle cancelled: Bundle rejected: insufficient scope for SET to /a")
        assert stays.sync() == []
        assert refused(goes, "/a", 1).code == 301
        crowd.leave()


def test_a_pair_that_cannot_be_used_is_named_by_the_reload(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, _ = authority.issue("box")
    _, other = authority.issue("other")
    with Daemon(config=BASE) as daemon:
        log = reload(daemon, f'{BASE}[tls]\ncertificate = "{certificate}"\nkey = "{other}"\n')
        assert "was not changed" in log
        assert "the key does not belong to the certificate" in log
