"""Client certificates as an identity, for CLASP and MQTT; certificates and clocks that do not agree."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.certificates import Authority
from support.client import WsClient
from support.clock_shim import ByClock, ShiftedClock
from support.daemon import Daemon
from support.live import eventually

from clasp_edge import wire
from clasp_edge.daemon.certificate import CLOCK_IS_SET_S, VALID_DAYS, days_of_validity
from clasp_edge.transports.tls_tunnel import names_in

CONFIG = """
[security]
mode = "authenticated"

[[security.token]]
token = "admin-token-of-the-test"
subject = "boss"
scopes = ["admin:/**"]

[[security.certificate]]
name = "CN:stage-left"
subject = "stage left"
scopes = ["write:/mqtt/left/**", "write:/left/**"]
"""

TEN_YEARS_S = 10 * 365 * 86_400


def port_of(daemon: Daemon, scheme: str) -> int:
    [ready] = [line for line in daemon.stdout.splitlines() if line.startswith("ready ")]
    [found] = [word for word in ready.split() if word.startswith(f"{scheme}://")]
    return int(found.rpartition(":")[2])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def served(authority: Authority, wanted: str) -> dict[str, object]:
    chain, key = authority.issue("router")
    return {
        "websocket.tls_listen": "127.0.0.1:0",
        "mqtt.tls_listen": "127.0.0.1:0",
        "tls.certificate": str(chain),
        "tls.key": str(key),
        "tls.client_ca": str(authority.certificate),
        "tls.client_certificates": wanted,
    }


@pytest.fixture(scope="module")
def daemon(authority: Authority) -> Iterator[Daemon]:
    with Daemon(mqtt=True, config=CONFIG, sets=served(authority, "optional")) as running:
        yield running


def hello(daemon: Daemon, authority: Authority, name: str | None, token: str | None) -> tuple[WsClient, wire.Message]:
    context = ssl.create_default_context(cafile=str(authority.certificate))
    if name is not None:
        context.load_cert_chain(*authority.issue(name))
    client = WsClient(f"wss://127.0.0.1:{port_of(daemon, 'wss')}", ssl=context)
    client.send(wire.Hello(1, "box", (), token=token))
    return client, client.recv()


def test_a_certificate_stands_for_somebody(daemon: Daemon, authority: Authority) -> None:
    client, answer = hello(daemon, authority, "stage-left", None)
    assert isinstance(answer, wire.Welcome)
    client.send(wire.Set("/left/1", 1))
    client.send(wire.Set("/right/1", 1))
    found = client.recv()
    while not isinstance(found, wire.Error):
        found = client.recv()
    assert (found.code, found.address) == (301, "/right/1")
    client.close()
    assert "login: subject stage left, token security.certificate[0]" in daemon.stderr


def test_one_that_is_not_listed_and_none_stand_for_nobody(daemon: Daemon, authority: Authority) -> None:
    for name in ("stage-right", None):
        client, answer = hello(daemon, authority, name, None)
        assert isinstance(answer, wire.Error)
        assert answer.code == 300
        client.close()
        # A token goes on.
        client, answer = hello(daemon, authority, name, "admin-token-of-the-test")
        assert isinstance(answer, wire.Welcome)
        client.close()


def test_mosquitto_pub_with_cafile_and_cert(daemon: Daemon, authority: Authority) -> None:
    chain, key = authority.issue("stage-left")
    line = [
        "mosquitto_pub", "-h", "127.0.0.1", "-p", str(port_of(daemon, "mqtts")), "-V", "5", "-q", "1", "-m", "42",
        "--cafile", str(authority.certificate),
    ]  # fmt: skip
    shown = ["--cert", str(chain), "--key", str(key)]
    done = subprocess.run([*line, "-t", "left/lamp", *shown], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    client, _ = hello(daemon, authority, None, "admin-token-of-the-test")
    client.send(wire.Get("/mqtt/left/lamp"))
    found = client.recv()
    while not (isinstance(found, wire.Snapshot) and any(one.address == "/mqtt/left/lamp" for one in found.params)):
        found = client.recv()
    client.close()
    refused = subprocess.run([*line, "-t", "left/lamp"], capture_output=True, text=True, timeout=30, check=False)
    assert refused.returncode != 0
    assert "ot authori" in refused.stderr


def test_names_are_those_of_the_subject_and_the_alternatives() -> None:
    certificate = {
        "subject": ((("countryName", "AT"),), (("commonName", "left"),)),
        "subjectAltName": (("DNS", "left.local"), ("URI", "clasp:left")),
    }
    assert names_in(certificate) == ("CN:left", "DNS:left.local", "URI:clasp:left")
    assert names_in(None) == names_in({}) == ()


# ---- clocks ----


def test_a_certificate_made_before_the_clock_was_set_outlives_that() -> None:
    assert days_of_validity(CLOCK_IS_SET_S + 5) == VALID_DAYS
    assert days_of_validity(0) * 86_400 > CLOCK_IS_SET_S + (VALID_DAYS - 2) * 86_400


def test_a_box_whose_clock_is_not_set_comes_up_and_says_so(authority: Authority, tmp_path: Path) -> None:
    clock = ShiftedClock(tmp_path)
    clock.shift(-TEN_YEARS_S)
    sets = served(authority, "optional")
    del sets["tls.client_ca"], sets["tls.client_certificates"]
    with Daemon(mqtt=True, sets=sets, manager=ByClock(clock)) as daemon:
        eventually(lambda: "not valid before" in daemon.stderr)
        assert "until the clock is set" in daemon.stderr
        context = ssl.create_default_context(cafile=str(authority.certificate))
        client = WsClient(f"wss://127.0.0.1:{port_of(daemon, 'wss')}", ssl=context)
        client.send(wire.Hello(1, "box", ()))
        assert isinstance(client.recv(), wire.Welcome)
        client.close()
    clock.close()


def test_who_has_the_same_address_has_not_the_same_certificate(daemon: Daemon, authority: Authority) -> None:
    """As behind a NAT: one source port to the encrypted listener and to the plain one."""
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.load_cert_chain(*authority.issue("stage-left"))
    connect = bytes.fromhex("100d00044d5154540402003c000131")
    with reusing(0) as first:
        first.connect(("127.0.0.1", port_of(daemon, "mqtts")))
        with context.wrap_socket(first, server_hostname="127.0.0.1") as shown, reusing(shown.getsockname()[1]) as other:
            shown.sendall(connect)
            assert shown.recv(4) == b"\x20\x02\x00\x00"
            other.connect(("127.0.0.1", port_of(daemon, "mqtt")))
            assert other.getsockname() == shown.getsockname()
            other.sendall(connect)
            assert other.recv(4) == b"\x20\x02\x00\x05"  # not authorised


def reusing(port: int) -> socket.socket:
    """A socket at a port of ours that others may have as well."""
    found = socket.socket()
    found.settimeout(20)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("127.0.0.1", port))
    return found
