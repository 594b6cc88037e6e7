"""Clients and routers of others through the encrypted listeners: MQTT.js and the CLASP client of npm over wss, the
mosquitto tools and the reference's leaf."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.certificates import Authority
from support.client import WsClient
from support.daemon import Daemon
from support.javascript_mqtt import JavaScriptMqtt
from support.live import eventually, put, subscribe
from support.rust_router import RustRouter, why_not

from clasp_edge import wire

CONFIG = """
[security]
mode = "authenticated"
[[security.token]]
token = "a-token-of-sixteen-characters"
subject = "desk"
scopes = ["admin:/**"]
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def encrypted(authority: Authority) -> dict[str, object]:
    chain, key = authority.issue("router")
    return {
        "websocket.tls_listen": "127.0.0.1:0",
        "mqtt.tls_listen": "127.0.0.1:0",
        "tls.certificate": str(chain),
        "tls.key": str(key),
    }


@pytest.fixture(scope="module")
def daemon(authority: Authority) -> Iterator[Daemon]:
    with Daemon(mqtt=True, config=CONFIG, sets=encrypted(authority)) as running:
        yield running


@pytest.mark.parametrize("scheme", ["wss", "mqtts"])
@pytest.mark.parametrize("version", [4, 5])
def test_mqtt_js(daemon: Daemon, authority: Authority, scheme: str, version: int) -> None:
    options: dict[str, object] = {
        "protocolVersion": version,
        "ca": authority.certificate.read_text(),
        "username": "desk",
        "password": "a-token-of-sixteen-characters",
        "reconnectPeriod": 0,
    }
    payload = bytes(range(256)) * 300
    topic = f"js/{scheme}/{version}"
    url = f"{scheme}://127.0.0.1:{daemon.address_pair(scheme)[1]}"
    with JavaScriptMqtt(url, **options) as client:
        client.connect()
        assert client.subscribe(f"{topic}/#", 1) == [1]
        client.publish(f"{topic}/large", payload, qos=1)
        assert client.received.wait(1)[0].payload == payload
    with (
        JavaScriptMqtt(
            f"{scheme}://127.0.0.1:{daemon.address_pair(scheme)[1]}", **options | {"password": "wrong"}
        ) as client,
        pytest.raises(Exception, match=r"(?i)user ?name"),
    ):
        client.connect()
    # Without the authority it does not believe the certificate.
    with (
        JavaScriptMqtt(url, **options | {"ca": ""}) as client,
        pytest.raises(Exception, match="certificate"),
    ):
        client.connect()


def test_mosquitto_tools(daemon: Daemon, authority: Authority, tmp_path: Path) -> None:
    line = ["-h", "127.0.0.1", "-p", str(daemon.address_pair("mqtts")[1]), "-u", "desk", "-t", "tools/lamp"]
    secret = ["-P", "a-token-of-sixteen-characters", "--cafile", str(authority.certificate)]
    sent = subprocess.run(
        ["mosquitto_pub", *line, *secret, "-q", "1", "-r", "-m", "42"], capture_output=True, timeout=30, check=False
    )
    assert sent.returncode == 0, sent.stderr
    heard = subprocess.run(
        ["mosquitto_sub", *line, *secret, "-C", "1", "-W", "20"], capture_output=True, timeout=30, check=False
    )
    assert heard.stdout == b"42\n", heard.stderr
    stranger = Authority(tmp_path, "stranger")
    wrong = ["-P", "a-token-of-sixteen-characters", "--cafile", str(stranger.certificate)]
    refused = subprocess.run(["mosquitto_pub", *line, *wrong, "-m", "1"], capture_output=True, timeout=30, check=False)
    assert refused.returncode != 0


def test_the_references_leaf(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := why_not():
        pytest.skip(reason)
    # Its TLS is the system's OpenSSL, which takes its authorities from there.
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    with (
        Daemon(sets=encrypted(authority)) as hub,
        RustRouter(leaf_of=f"wss://127.0.0.1:{hub.address_pair('wss')[1]}", name="rust-1", owns=["/site/**"]) as leaf,
    ):
        eventually(lambda: "'rust-1' declares 1 namespaces" in hub.stderr, 25)
        with leaf.client("listener") as listener, WsClient(hub.ws_url).hello("writer") as writer:
            assert subscribe(listener, "/site/**") == []
            for number in range(5):
                put(writer, "/site/a", number)
                assert listener.recv_type(wire.Set).value == number
