"""Quotas of tokens: what all bearers of one token may use together, over CLASP and MQTT."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.client import WsClient
from support.daemon import Daemon
from support.live import eventually
from support.mqtt_client import Broker
from support.mqtt_packets import V5

from clasp_edge import wire
from clasp_edge.quota import Quota
from clasp_edge.security.token_file import TokenFile, TokenFileError, read_quota
from clasp_edge.wire import SignalType

CONFIG = """
[security]
mode = "authenticated"

[[security.token]]
token = "admin-token-of-the-test"
scopes = ["admin:/**"]

[[security.token]]
token = "few-sessions-of-the-test"
subject = "few"
scopes = ["admin:/**"]
sessions = 2

[[security.token]]
token = "slow-token-of-the-test"
subject = "slow"
scopes = ["admin:/**"]
messages_per_second = 40

[[security.token]]
token = "drip-token-of-the-test"
subject = "drip"
scopes = ["admin:/**"]
messages_per_second = 2

[[security.token]]
token = "deaf-token-of-the-test"
subject = "deaf"
scopes = ["admin:/**"]
subscriptions = 3

[[security.token]]
token = "heavy-token-of-the-test"
subject = "heavy"
scopes = ["admin:/**"]
bytes_per_second = 100000

[[security.token]]
token = "small-token-of-the-test"
subject = "small"
scopes = ["admin:/**"]
kept_kib = 64
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(mqtt=True, config=CONFIG) as running:
        yield running


def hello(daemon: Daemon, token: str) -> tuple[WsClient, wire.Message]:
    client = WsClient(daemon.ws_url)
    client.send(wire.Hello(1, "client", (), token=token))
    return client, client.recv()


def admitted(daemon: Daemon, token: str) -> WsClient:
    client, answer = hello(daemon, token)
    assert isinstance(answer, wire.Welcome), answer
    return client


def test_sessions_of_all_protocols_count_together(daemon: Daemon) -> None:
    one = admitted(daemon, "few-sessions-of-the-test")
    mqtt = Broker(daemon.mqtt_address)
    lamp = mqtt.client(V5, "lamp", username="x", password="few-sessions-of-the-test")
    client, answer = hello(daemon, "few-sessions-of-the-test")
    assert isinstance(answer, wire.Error)
    assert (answer.code, "2 sessions" in answer.message) == (429, True)
    client.close()
    mqtt.open(V5).connect("other", expect=0x97, username="x", password="few-sessions-of-the-test")
    admitted(daemon, "admin-token-of-the-test").close()  # nobody else's
    # The same client again is no further one.
    again = mqtt.client(V5, "lamp", username="x", password="few-sessions-of-the-test")
    lamp.expect_closed(0x8E)
    one.close()

    def free() -> bool:
        client, answer = hello(daemon, "few-sessions-of-the-test")
        client.close()
        return isinstance(answer, wire.Welcome)

    assert eventually(free)
    again.disconnect()
    mqtt.leave()


def test_a_rate_is_shared_by_all_bearers(daemon: Daemon) -> None:
    """Each of two gets half; alone again, all of it."""

    def rate_of(client: WsClient) -> float:
        """What the ERROR says when it is exceeded."""
        found: wire.Message | None = None
        while not isinstance(found, wire.Error):
            # It says so once a second.
            for number in range(100):
                client.send(wire.Set("/rate", number))
            with suppress(TimeoutError):
                found = client.recv(0.1)
        return float(found.message.removeprefix("Rate limit exceeded: ").removesuffix(" messages/second"))

    one = admitted(daemon, "slow-token-of-the-test")
    two = admitted(daemon, "slow-token-of-the-test")
    assert rate_of(two) == 20
    one.close()
    eventually(lambda: rate_of(two) == 40)
    two.close()


def test_a_share_below_one_a_second_lets_messages_through(daemon: Daemon) -> None:
    """Each of six bearers may say something every three seconds: that is seldom, not never."""
    crowd = [admitted(daemon, "drip-token-of-the-test") for _ in range(6)]

    def taken() -> bool:
        crowd[0].send(wire.Set("/drip", 1))
        with suppress(TimeoutError):  # that it was refused is said once a second
            return isinstance(crowd[0].recv(0.5), wire.Ack)
        return False

    assert eventually(taken)
    for client in crowd:
        client.close()


def test_subscriptions_of_all_bearers_count_together(daemon: Daemon) -> None:
    one = admitted(daemon, "deaf-token-of-the-test")
    mqtt = Broker(daemon.mqtt_address)
    two = mqtt.client(V5, "two", username="x", password="deaf-token-of-the-test")
    assert two.subscribe("a", "b").codes == [0, 0]
    one.send(wire.Subscribe(1, "/a"))
    one.send(wire.Subscribe(2, "/b"))
    found = one.recv()
    while not isinstance(found, wire.Error):
        found = one.recv()
    assert (found.code, "quota of the token, 3" in found.message) == (429, True)
    assert two.subscribe("c").codes == [0x97]
    assert two.subscribe("a").codes == [0]  # in the place of one that is there
    one.close()
    mqtt.leave()


@pytest.mark.parametrize(
    ("limit", "said"),
    [("", "quota of the token, 3"), ("limits.max_subscriptions", "max 3 of all clients together")],
    ids=["of the token", "of all"],
)
def test_what_is_searched_for_in_history_first_counts_too(limit: str, said: str) -> None:
    """Who asks for history is subscribed when it has been searched: others may have been faster."""
    sets = {"limits.messages_per_second": 0, **({limit: 3} if limit else {})}
    token = "admin-token-of-the-test" if limit else "deaf-token-of-the-test"
    with Daemon(config=CONFIG, sets=sets) as daemon:
        writer = admitted(daemon, "admin-token-of-the-test")
        for number in range(25_000):
            writer.send(wire.Publish(f"/{number}", SignalType.EVENT, value=None), wire.Qos.FIRE)
        writer.sync()
        bearers = [admitted(daemon, token) for _ in range(3)]
        bearers[0].send(wire.Subscribe(1, "/a"))
        bearers[0].sync()
        for bearer in bearers:
            bearer.send(wire.Subscribe(2, "/24999", (), wire.SubscribeOptions(history=1)))
        answers = [message for bearer in bearers for message in bearer.sync()]
        refused = [message.message for message in answers if isinstance(message, wire.Error)]
        assert len(refused) == 1
        assert said in refused[0]
        # Two have it, besides the one that had been there.
        writer.send(wire.Publish("/24999", SignalType.EVENT, value="live"))
        writer.sync()
        heard = [message for bearer in bearers for message in bearer.sync() if isinstance(message, wire.Publish)]
        assert [message.value for message in heard] == ["live"] * 2
        for client in (*bearers, writer):
            client.close()


def test_bytes_are_limited_and_not_only_messages(daemon: Daemon) -> None:
    """Small ones pass in any number; large ones take what they are."""
    client = admitted(daemon, "heavy-token-of-the-test")
    for number in range(500):
        client.send(wire.Set("/small", number))
    assert not [each for each in client.sync() if isinstance(each, wire.Error)]
    found: wire.Message | None = None
    while not isinstance(found, wire.Error):
        for _ in range(10):
            client.send(wire.Set("/large", "x" * 30_000), qos=0)
        with suppress(TimeoutError):
            found = client.recv(0.1)
    assert (found.code, found.message) == (429, "Rate limit exceeded: 100000 bytes/second")
    client.close()


def test_bytes_hold_mqtt_clients_back(daemon: Daemon) -> None:
    """Each byte arrives, and no sooner than it may: five times what is free at once takes at least three seconds."""
    mqtt = Broker(daemon.mqtt_address)
    sender = mqtt.client(V5, "heavy", username="x", password="heavy-token-of-the-test")
    began_s = time.monotonic()
    for _ in range(10):
        sender.publish("big", b"x" * 50_000, qos=1)
    assert time.monotonic() - began_s > 3
    mqtt.leave()


def test_what_is_kept_is_limited(daemon: Daemon) -> None:
    client = admitted(daemon, "small-token-of-the-test")
    refused: wire.Message | None = None
    for number in range(2000):
        client.send(wire.Subscribe(number, f"/{'x' * 200}/{number}/*"))
        with suppress(TimeoutError):
            refused = client.recv(0.001) if number % 50 == 49 else refused
        if isinstance(refused, wire.Error):
            break
    if not isinstance(refused, wire.Error):
        refused = next(each for each in client.sync() if isinstance(each, wire.Error))
    assert refused.code == 429
    assert "kept_kib" in refused.message
    client.close()
    other = admitted(daemon, "admin-token-of-the-test")
    for number in range(1000):
        other.send(wire.Subscribe(number, f"/{'x' * 200}/{number}/*"))
    assert not [each for each in other.sync() if isinstance(each, wire.Error)]
    other.close()


def test_the_file_keeps_a_quota_and_refuses_what_is_none(tmp_path: Path) -> None:
    file = TokenFile(tmp_path)
    _, entry = file.add("desk", ["read:/**"], None, Quota(5, 2, 0, 100_000, 512))
    assert file.read() == [entry]
    assert file.rotate("desk")[1].quota == Quota(5, 2, 0, 100_000, 512)
    for wrong in ({"speed": 3}, {"sessions": -1}, {"sessions": True}, {"sessions": "2"}, {"sessions": 10**9}):
        with pytest.raises(TokenFileError):
            read_quota(wrong)


def test_the_command_makes_one(tmp_path: Path) -> None:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "clasp_edge", "token", *words, "--set", f"data_dir={tmp_path}"]
        return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)

    made = command("new", "desk", "--scope", "read:/**", "--quota", "sessions=2", "--quota", "messages_per_second=50")
    assert made.returncode == 0, made.stderr
    assert "sessions=2" in command("show", "desk").stdout
    assert command("new", "x", "--scope", "read:/**", "--quota", "sessions=many").returncode == 1
    assert command("new", "x", "--scope", "read:/**", "--quota", "speed=3").returncode == 1


def test_a_second_hello_takes_the_quotas_of_its_token(daemon: Daemon) -> None:
    """It is a session of that token then, and none of the first."""
    sessions = [admitted(daemon, "admin-token-of-the-test") for _ in range(3)]
    for client in sessions[:2]:
        client.send(wire.Hello(1, "client", (), token="few-sessions-of-the-test"))
        client.recv_until(wire.Welcome)
    third = sessions[2]
    third.send(wire.Hello(1, "client", (), token="few-sessions-of-the-test"))
    refused = third.recv_until(wire.Error)
    assert (refused.code, "2 sessions" in refused.message) == (429, True)
    client, answer = hello(daemon, "few-sessions-of-the-test")
    assert isinstance(answer, wire.Error)
    for one in (client, *sessions):
        one.close()
