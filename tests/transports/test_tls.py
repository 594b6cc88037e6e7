"""Encrypted listeners: every protocol behind them, the certificate of the box's own, renewals, pins, hostile peers."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from support.certificates import Authority
from support.client import WsClient
from support.daemon import Daemon

from clasp_edge import wire

LISTENERS = {
    "websocket.tls_listen": "127.0.0.1:0",
    "mqtt.tls_listen": "127.0.0.1:0",
    "tcp.tls_listen": "127.0.0.1:0",
}


def port_of(daemon: Daemon, scheme: str) -> int:
    [ready] = [line for line in daemon.stdout.splitlines() if line.startswith("ready ")]
    [found] = [word for word in ready.split() if word.startswith(f"{scheme}://")]
    return int(found.rpartition(":")[2])


def certificate_of(daemon: Daemon) -> Path:
    return daemon.data_dir / "tls" / "certificate.pem"


def connected(daemon: Daemon, scheme: str, authority: Path | None = None) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(authority or certificate_of(daemon)))
    raw = socket.create_connection(("127.0.0.1", port_of(daemon, scheme)), timeout=10)
    return context.wrap_socket(raw, server_hostname="localhost" if authority is None else "127.0.0.1")


def wss(daemon: Daemon) -> WsClient:
    context = ssl.create_default_context(cafile=str(certificate_of(daemon)))
    return WsClient(f"wss://localhost:{port_of(daemon, 'wss')}", ssl=context)


def test_every_protocol_is_served_behind_tls() -> None:
    with Daemon(mqtt=True, tcp=True, sets=LISTENERS) as daemon:
        with wss(daemon) as client:
            client.hello("encrypted")
            client.send(wire.Subscribe(1, "/a/**"))
            client.send(wire.Set("/a/b", 1.5))
            while not isinstance(message := client.recv(), wire.Set):
                pass
            assert (message.address, message.value) == ("/a/b", 1.5)
        with connected(daemon, "wss") as http:
            http.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b'"status":"ok"' in http.recv(4096)
        with connected(daemon, "mqtts") as mqtt:
            mqtt.sendall(bytes.fromhex("100d00044d5154540402003c000131"))
            assert mqtt.recv(4) == b"\x20\x02\x00\x00"
        with connected(daemon, "tcps") as tcp:
            frame = wire.encode(wire.Hello(1, "tcp", ()))
            tcp.sendall(len(frame).to_bytes(4, "big") + frame)
            assert tcp.recv(4)


def test_what_a_client_does_not_read_does_not_pile_up_behind_tls() -> None:
    with Daemon(sets=LISTENERS) as daemon, wss(daemon) as reader, WsClient(daemon.ws_url) as writer:
        reader.hello("slow")
        reader.send(wire.Subscribe(1, "/a/**"))
        writer.hello("fast")
        value = "x" * 10_000
        for number in range(3000):
            writer.send(wire.Set(f"/a/{number % 3}", f"{number} {value}"))
        writer.send(wire.Get("/a/0"))
        while not isinstance(writer.recv(timeout=30), wire.Snapshot):
            pass
        newest: dict[str, str] = {}
        deadline = time.monotonic() + 30
        while {text.partition(" ")[0] for text in newest.values()} != {"2997", "2998", "2999"}:
            assert time.monotonic() < deadline, newest.keys()
            message = reader.recv(timeout=30)
            if isinstance(message, wire.Set):
                newest[message.address] = str(message.value)


def test_the_certificate_of_its_own_stays_and_its_fingerprint_is_told() -> None:
    with Daemon(sets=LISTENERS) as daemon:
        shown = subprocess.run(
            ["openssl", "x509", "-in", certificate_of(daemon), "-noout", "-fingerprint", "-sha256", "-ext",
             "basicConstraints"],
            capture_output=True, text=True, timeout=30, check=True,
        ).stdout  # fmt: skip
        fingerprint = "sha256:" + shown.partition("=")[2].partition("\n")[0].replace(":", "").lower()
        assert "CA:FALSE" in shown
        assert fingerprint in daemon.stderr
        before = certificate_of(daemon).read_bytes()
        assert (daemon.data_dir / "tls" / "key.pem").stat().st_mode & 0o777 == 0o600
        daemon.restart()
        assert certificate_of(daemon).read_bytes() == before


def test_a_renewed_certificate_is_taken_over_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    chain, key = authority.issue("first")
    sets = {"websocket.tls_listen": "127.0.0.1:0", "tls.certificate": str(chain), "tls.key": str(key)}
    with Daemon(sets=sets) as daemon:
        with connected(daemon, "wss", authority.certificate) as one:
            first = one.getpeercert(binary_form=True)
        other_chain, other_key = authority.issue("second")
        chain.write_bytes(other_chain.read_bytes())
        daemon.hangup()
        wait_for(daemon, "the key does not belong to the certificate")
        with connected(daemon, "wss", authority.certificate) as one:
            assert one.getpeercert(binary_form=True) == first
        key.write_bytes(other_key.read_bytes())
        daemon.hangup()
        wait_for(daemon, ": taken over, fingerprint")
        with connected(daemon, "wss", authority.certificate) as one:
            assert one.getpeercert(binary_form=True) != first


def wait_for(daemon: Daemon, text: str) -> None:
    deadline = time.monotonic() + 10
    while text not in daemon.stderr:
        assert time.monotonic() < deadline, daemon.stderr
        time.sleep(0.01)


@pytest.mark.parametrize("what", ["cut", "other key", "missing"])
def test_a_start_with_a_bad_certificate_is_a_sentence(what: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    chain, key = authority.issue("first")
    if what == "cut":
        chain.write_bytes(chain.read_bytes()[:200])
    elif what == "other key":
        key = authority.issue("second")[1]
    else:
        chain = tmp_path / "nothing.pem"
    sets = {"websocket.tls_listen": "127.0.0.1:0", "tls.certificate": str(chain), "tls.key": str(key)}
    daemon = Daemon(sets=sets)
    with pytest.raises(AssertionError, match=r"tls\.certificate"):
        daemon.start()
    daemon.close()


def test_clients_without_a_certificate_are_refused_where_one_is_asked_for(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    chain, key = authority.issue("hub")
    sets = {
        "websocket.tls_listen": "127.0.0.1:0",
        "tls.certificate": str(chain),
        "tls.key": str(key),
        "tls.client_ca": str(authority.certificate),
    }
    with Daemon(sets=sets) as daemon:
        with contextlib.suppress(OSError), connected(daemon, "wss", authority.certificate) as refused:
            refused.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert refused.recv(1) == b""
        wait_for(daemon, "TLS handshake failed")


def test_silent_and_senseless_peers_cost_nobody_else_anything() -> None:
    with Daemon(sets=LISTENERS | {"limits.max_half_open": 8, "limits.handshake_timeout_s": 30}) as daemon:
        port = port_of(daemon, "wss")
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(30)]
        for sock in silent[:10]:
            sock.sendall(b"\x16\x03\x01\xff\xff" + b"\0" * 2000)
        with wss(daemon) as client:
            client.hello("honest")
            client.send(wire.Ping())
            while not isinstance(client.recv(), wire.Pong):
                pass
        for sock in silent:
            sock.close()
        daemon.assert_healthy()


def test_an_uplink_trusts_a_pinned_hub_and_no_other() -> None:
    with Daemon(sets=LISTENERS) as hub:
        [fingerprint] = [word for word in hub.stderr.split() if word.startswith("sha256:")]
        url = f"wss://127.0.0.1:{port_of(hub, 'wss')}"
        with (
            Daemon(config=uplink(url, fingerprint)) as box,
            WsClient(box.ws_url) as client,
            WsClient(hub.ws_url) as there,
        ):
            client.hello("box")
            client.send(wire.Set("/box/a", 7))
            there.hello("hub")
            there.send(wire.Subscribe(1, "/box/**"))
            while not ((message := there.recv(timeout=20)) and _tells(message, "/box/a")):
                pass
        with Daemon(config=uplink(url, "sha256:" + "0" * 64)) as box:
            wait_for(box, "tls_pin")


def uplink(url: str, pin: str) -> str:
    return f'[uplink.hub]\nurl = "{url}"\ntls_pin = "{pin}"\nowns = ["/box/**"]\n'


def _tells(message: wire.Message, address: str) -> bool:
    if isinstance(message, wire.Set):
        return message.address == address
    return isinstance(message, wire.Snapshot) and any(param.address == address for param in message.params)
