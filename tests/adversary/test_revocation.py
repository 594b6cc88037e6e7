"""A token that is taken out of the configuration: nothing of it has an effect from the reload on."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from support.client import TcpClient, WsClient
from support.console import ask
from support.daemon import Daemon
from support.federated import JOURNAL, client
from support.live import eventually, get, put, subscribe
from support.mqtt_client import MqttClient
from support.mqtt_packets import V5, Will
from support.mqtt_packets import publish as publish_packet

from clasp_edge.wire import Ack, Bundle, Error, Hello, Set

ADMIN, STAFF = "admin-token-admin-token", "staff-token-staff-token"
EXPIRY, DELAY = "session_expiry_interval", "will_delay_interval"


def config(**tokens: list[str]) -> str:
    """`subject=[scope, ...]`: the token is made of the subject."""
    entries = (
        f'[[security.token]]\ntoken = "{name}-token-{name}-token"\nsubject = "{name}"\nscopes = {json.dumps(scopes)}\n'
        for name, scopes in tokens.items()
    )
    return '[security]\nmode = "authenticated"\n' + "".join(entries)


BOTH = config(admin=["admin:/**"], staff=["read:/**", "write:/**"])


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with Daemon(tcp=True, mqtt=True, config=BOTH, sets=JOURNAL) as running:
        yield running


def take_over(daemon: Daemon, text: str) -> None:
    before = daemon.stderr.count("reload: applied")
    (daemon.directory / "clasp-edge.toml").write_text(text)
    daemon.hangup()
    eventually(lambda: daemon.stderr.count("reload: applied") > before)


def mqtt(daemon: Daemon, stack: ExitStack, client_id: str, **options: object) -> MqttClient:
    device = stack.enter_context(MqttClient(daemon.mqtt_address, V5))
    return device.connect(client_id, username="x", password=STAFF, **options)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


def test_nothing_of_a_revoked_token_has_an_effect(daemon: Daemon, stack: ExitStack) -> None:
    admin = stack.enter_context(client(daemon, token=ADMIN))
    writer = stack.enter_context(TcpClient(daemon.tcp_address)).hello("writer", token=STAFF)
    writer.sync()
    put(writer, "/locked", 1, lock=True)
    writer.send(Bundle([Set("/scheduled", 1)], timestamp=int(writer.welcome.time + 1_500_000)), 1)
    kept = {EXPIRY: 3600}
    here = mqtt(daemon, stack, "here", will=Will("will/here", b"late", retain=True), props=kept)
    late = mqtt(daemon, stack, "late", will=Will("will/late", b"late", retain=True, properties={DELAY: 1}), props=kept)
    away = mqtt(daemon, stack, "away", props=kept)
    away.subscribe("#", options=1)
    late.reset()
    away.disconnect()
    eventually(lambda: mqtt_status(daemon)["kept"] == 2)

    take_over(daemon, config(admin=["admin:/**"]))
    writer.send(Set("/after", 1))
    error = writer.recv_until(Error)
    assert (error.code, error.message) == (300, "Token has been revoked")
    writer.wait_closed()
    here.expect_closed(0x87)
    assert mqtt_status(daemon)["kept"] == 0
    admin.send(Set("/locked", 2))
    assert isinstance(admin.recv_until(Ack), Ack)
    # A timer of ours behind theirs: they have had their time.
    admin.send(Bundle([Set("/behind", 1)], timestamp=int(writer.welcome.time + 2_500_000)), 1)
    admin.recv_until(Ack)
    for address in ("/after", "/scheduled", "/mqtt/will/here", "/mqtt/will/late"):
        assert get(admin, address) is None, address


def test_what_is_said_after_sighup_is_judged_by_the_new_file(daemon: Daemon, stack: ExitStack) -> None:
    """Everything is there before the router looks: SIGHUP first, then what clients of the old file say."""
    writer = stack.enter_context(TcpClient(daemon.tcp_address)).hello("writer", token=STAFF)
    browser = stack.enter_context(WsClient(daemon.ws_url)).hello("browser", token=STAFF)
    device = mqtt(daemon, stack, "device")
    newcomer = stack.enter_context(TcpClient(daemon.tcp_address))
    for client_ in (writer, browser):
        client_.sync()
    device.sync()
    (daemon.directory / "clasp-edge.toml").write_text(config(admin=["admin:/**"]))
    daemon.signal(signal.SIGSTOP)
    daemon.signal(signal.SIGHUP)
    writer.send(Set("/tcp", 1), 1)
    browser.send(Set("/websocket", 1), 1)
    device.send(publish_packet(V5, "mqtt", b"1", qos=1, packet_id=7))
    newcomer.send(Hello(version=1, name="late", features=(), token=STAFF))
    daemon.signal(signal.SIGCONT)
    for client_ in (writer, browser, newcomer):
        told = client_.recv_until(Error)
        assert told.code == 300 or "token" in told.message.lower(), told
        client_.wait_closed()
    device.expect_closed(0x87)
    with client(daemon, token=ADMIN) as admin:
        for address in ("/tcp", "/websocket", "/mqtt/mqtt"):
            assert get(admin, address) is None, address
    assert daemon.stderr.count("reload: applied") == 1


def test_a_token_that_may_read_less_is_told_less_at_once(daemon: Daemon, stack: ExitStack) -> None:
    with client(daemon, token=ADMIN) as admin, client(daemon, token=STAFF) as reader:
        subscribe(reader, "/**")
        device = mqtt(daemon, stack, "reader")
        device.subscribe("#")
        take_over(daemon, config(admin=["admin:/**"], staff=["read:/small/**"]))
        put(admin, "/wide", 1)
        put(admin, "/mqtt/wide", 1)
        put(admin, "/small/x", 1)
        assert [message.address for message in reader.sync() if isinstance(message, Set)] == ["/small/x"]
        assert device.publishes() == []
        device.disconnect()


def mqtt_status(daemon: Daemon) -> dict[str, int]:
    found: dict[str, int] = ask(daemon.control_path, request="status")["result"]["mqtt"]
    return found


@pytest.mark.parametrize(("scopes", "told"), [(["read:/mqtt/**"], False), (["read:/clasp-edge/**"], True)])
def test_the_server_s_numbers_need_a_scope(daemon: Daemon, stack: ExitStack, scopes: list[str], told: bool) -> None:
    take_over(daemon, config(admin=["admin:/**"], staff=scopes))
    device = mqtt(daemon, stack, "curious")
    suback, retained = device.subscribe_with_retained("$SYS/#")
    assert list(suback.codes) == ([0] if told else [0x87])
    assert bool(retained) == told
    device.disconnect()
