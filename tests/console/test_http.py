"""/healthz and /metrics on the HTTP port: what they say, who may read them, and that nothing else changes."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import time
from collections.abc import Iterator

import pytest
from support.client import WsClient
from support.console import ask
from support.daemon import Daemon
from support.live import Crowd, eventually, put
from support.prometheus import read_metrics, value

TOKENS = """
[console]
metrics_from = ["192.0.2.0/24"]
[security]
mode = "authenticated"
[[security.token]]
token = "everything"
scopes = ["admin:/**"]
[[security.token]]
token = "reads"
scopes = ["read:/**", "write:/**", "admin:/a/**"]
[[security.token]]
token = "over"
scopes = ["admin:/**"]
expires = 2020-01-01T00:00:00Z
"""

Answer = tuple[int, dict[str, str], str]


def fetch(
    daemon: Daemon, path: str = "/metrics", *, method: str = "GET", host: str | None = None, **headers: str
) -> Answer:
    """Status, header fields (names in lower case) and body."""
    connection = http.client.HTTPConnection(host or daemon.ws_address[0], daemon.ws_address[1], timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, {name.lower(): text for name, text in answer.getheaders()}, body


@pytest.fixture(scope="module")
def guarded() -> Iterator[Daemon]:
    with Daemon(config=TOKENS) as running:
        yield running


def test_metrics_are_those_of_the_control_socket(daemon: Daemon) -> None:
    status, fields, body = fetch(daemon)
    assert status == 200
    assert fields["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert fields["cache-control"] == "no-store"
    assert fields["connection"] == "close"
    found = read_metrics(body)
    assert found.keys() == read_metrics(ask(daemon.control_path, request="metrics")["result"]).keys()
    crowd = Crowd(daemon)
    put(crowd.ws(), "/a", 1)
    again = read_metrics(fetch(daemon, "/metrics?collect=all")[2])
    assert value(again, "messages_total", signal="param") == value(found, "messages_total", signal="param") + 1
    assert value(again, "sessions", kind="websocket") == 1
    crowd.leave()


def test_healthz_of_a_healthy_router(daemon: Daemon) -> None:
    status, fields, body = fetch(daemon, "/healthz")
    assert (status, fields["content-type"]) == (200, "application/json")
    found = json.loads(body)
    assert found["status"] == "ok"
    assert 0 <= found["loop_lag_s"] < 1
    assert len(body) < 200


@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
def test_head_has_the_same_head_and_no_body(daemon: Daemon, path: str) -> None:
    status, fields, body = fetch(daemon, path, method="HEAD")
    assert (status, body) == (200, "")
    assert int(fields["content-length"]) > 20
    assert fields["content-type"] == fetch(daemon, path)[1]["content-type"]


def test_healthz_says_when_the_loop_does_not_come_round() -> None:
    with Daemon() as daemon:
        assert fetch(daemon, "/healthz")[0] == 200
        daemon.signal(signal.SIGSTOP)
        # It asks while nobody is at home, and is answered as soon as somebody is.
        waiting = http.client.HTTPConnection(*daemon.ws_address, timeout=10)
        waiting.request("GET", "/healthz")
        time.sleep(2.5)
        daemon.signal(signal.SIGCONT)
        answer = waiting.getresponse()
        found = json.loads(answer.read())
        waiting.close()
        assert answer.status == 503
        assert found["status"].startswith("the event loop is ")
        assert found["loop_lag_s"] > 1
        eventually(lambda: fetch(daemon, "/healthz")[0] == 200)
        loop = ask(daemon.control_path, request="status")["result"]["loop"]
        assert loop["worst_lag_s"] > 1 > loop["lag_s"]


def test_other_addresses_may_not_read_the_metrics() -> None:
    with Daemon(sets={"console.metrics_from": '["192.0.2.0/24"]'}) as daemon:
        status, _, body = fetch(daemon)
        assert status == 403
        assert "console.metrics_from" in body
        assert "clasp_edge_" not in body
        assert fetch(daemon, Authorization="Bearer anything")[0] == 403
        assert fetch(daemon, method="HEAD")[::2] == (403, "")
        # Everybody may know whether the router is well.
        assert fetch(daemon, "/healthz")[0] == 200


def test_who_comes_by_a_proxy_may_be_anybody(daemon: Daemon) -> None:
    for headers in ({"X_Forwarded_For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}, {"Via": "1.1 proxy"}):
        assert fetch(daemon, **headers)[0] == 403
    with Daemon(sets={"console.metrics_from": '["0.0.0.0/0", "::/0"]'}) as everyone:
        assert fetch(everyone, X_Forwarded_For="203.0.113.9")[0] == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_socket_for_both_families_knows_who_is_near(host: str) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with Daemon(sets={"websocket.listen": ":0"}) as daemon:
        assert fetch(daemon, host=host)[0] == 200
        daemon.assert_healthy()


def test_a_token_that_may_do_everything_opens_the_metrics(guarded: Daemon) -> None:
    status, _, body = fetch(guarded, Authorization="Bearer everything")
    assert status == 200
    assert read_metrics(body)
    assert fetch(guarded, Authorization="bearer  everything ", X_Forwarded_For="203.0.113.9")[0] == 200


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "need a token"),
        ({"Authorization": "Bearer"}, "need a token"),
        ({"Authorization": "Basic ZXZlcnl0aGluZzo="}, "need a token"),
        ({"Authorization": "Bearer nonsense"}, "oken"),
        ({"Authorization": "Bearer over"}, "expired"),
        ({"Authorization": "Bearer reads"}, "admin:/**"),
        ({"X-Token": "everything"}, "need a token"),
    ],
)
def test_any_other_token_does_not(guarded: Daemon, headers: dict[str, str], reason: str) -> None:
    status, fields, body = fetch(guarded, **headers)
    assert status == 401
    assert fields["www-authenticate"].startswith("Bearer ")
    assert reason in body
    assert "clasp_edge_" not in body
    assert fetch(guarded, "/healthz", **headers)[0] == 200


def test_loopback_needs_no_token_by_default() -> None:
    config = TOKENS.partition("[security]")
    with Daemon(config=config[1] + config[2]) as daemon:
        assert fetch(daemon)[0] == 200


def test_who_may_read_changes_with_a_reload() -> None:
    with Daemon(config="[console]\nmetrics_from = []\n") as daemon:
        assert fetch(daemon)[0] == 403
        (daemon.directory / "clasp-edge.toml").write_text('[console]\nmetrics_from = ["127.0.0.1"]\n')
        daemon.hangup()
        eventually(lambda: fetch(daemon)[0] == 200)
        assert "reload: applied: console.metrics_from" in daemon.stderr


def test_a_websocket_may_have_any_path(daemon: Daemon) -> None:
    with WsClient(daemon.ws_url, path="/metrics").hello() as client:
        assert client.sync() == []


def test_odd_requests_for_a_page(daemon: Daemon) -> None:
    def raw(data: bytes) -> bytes:
        with socket.create_connection(daemon.ws_address, 10) as connection:
            connection.sendall(data)
            received = b""
            while piece := connection.recv(65536):
                received += piece
            return received

    assert raw(b"GET /metrics HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")
    assert raw(b"GET /metrics\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")
    assert raw(b"GET /metrics/ HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\nok\n")
    assert raw(b"GET /METRICS HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\nok\n")
    assert raw(b"GET /%6detrics HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\nok\n")
    assert raw(b"GET /metrics\xff HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\nok\n")
    assert raw(b"GET  HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\nok\n")
    assert raw(b"HEAX /metrics HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert raw(b"HEAD /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 3000).startswith(b"HTTP/1.1 400 ")
    assert raw(b"POST /metrics HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\nok\n")
    daemon.assert_healthy()


def test_readyz_is_about_the_journal_as_well() -> None:
    with Daemon(sets={"journal.mode": "group"}) as daemon:
        assert fetch(daemon, "/readyz")[0] == 200
        assert json.loads(fetch(daemon, "/readyz", Host="anything.example")[2])["status"] == "ok"


def test_prometheus_may_know_the_router_by_any_name_and_a_page_may_not(daemon: Daemon) -> None:
    prometheus = {"User_Agent": "Prometheus/3.5.0", "Accept_Encoding": "gzip"}
    assert fetch(daemon, Host="stage.example.org:7330", **prometheus)[0] == 200
    browser = {"User_Agent": "Mozilla/5.0 (X11; Linux)", "Accept_Language": "en", "Accept_Encoding": "gzip, deflate"}
    for name in browser:
        # A script can hide some of what a browser says, and not all.
        assert fetch(daemon, Host="evil.example.org", **{name: browser[name]})[0] == (200 if "Enc" in name else 403)
    assert fetch(daemon, Host="evil.example.org", Sec_Fetch_Site="same-origin")[0] == 403
    assert fetch(daemon, "/status.json", Host="stage.example.org", **prometheus)[0] == 403
