"""`/ask`: what the page has the router do, who may, and what strangers send there."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from support.client import WsClient
from support.console import ask as ask_socket
from support.daemon import Daemon
from support.live import eventually, put

from clasp_edge.wire import Error, Set

JSON = {"Content-Type": "application/json"}

GUARDED = """
[security]
mode = "authenticated"
[[security.token]]
token = "may-do-everything"
scopes = ["admin:/**"]
[[security.token]]
token = "may-read-only"
scopes = ["read:/**"]
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    rule = '[[rule]]\nid = "one"\ntrigger = { type = "change", pattern = "/a" }\ndo = [{ set = "/b", value = 1 }]\n'
    with Daemon(config=rule) as running:
        yield running


def ask(daemon: Daemon, asked: Any, *, method: str = "POST", **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(*daemon.ws_address, timeout=40)
    if method == "POST":
        body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
        connection.request("POST", "/ask", body=body, headers=JSON | headers)
    else:
        connection.request("GET", f"/ask?{asked}", headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, json.loads(text) if answer.headers["Content-Type"] == "application/json" else text


def test_a_client_is_disconnected(daemon: Daemon) -> None:
    client = WsClient(daemon.ws_url).hello("victim")
    client.sync()
    assert ask(daemon, {"request": "kick", "id": "victim"})[1]["result"]["name"] == "victim"
    eventually(lambda: not ask(daemon, {"request": "kick", "id": "victim"})[1]["ok"])
    client.close()


def test_a_rule_is_switched(daemon: Daemon) -> None:
    for action, enabled in (("disable", False), ("enable", True)):
        assert ask(daemon, {"request": "rules", "action": action, "id": "one"})[1]["result"]["enabled"] is enabled
        listed = ask(daemon, "request=rules&action=list", method="GET")[1]["result"]["rules"]
        assert listed["one"]["enabled"] is enabled


def test_an_open_router_makes_no_tokens_that_outlive_the_claim(daemon: Daemon) -> None:
    status, answer = ask(daemon, {"request": "token", "action": "new", "name": "x", "scopes": ["admin:/**"]})
    assert status == 403
    assert "claim it first" in answer


def test_what_changes_something_is_no_get(daemon: Daemon) -> None:
    for query in ("request=kick&id=x", "request=rules&action=disable&id=one", "request=reload", "request=status", ""):
        assert ask(daemon, query, method="GET")[0] == 400
    status, answer = ask(daemon, "request=why&address=/a", method="GET")
    assert (status, answer["result"]["address"]) == (200, "/a")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example.com"}, 403),
        ({"Host": "evil.example.com"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"X-Forwarded-For": "127.0.0.1"}, 403),
    ],
)
def test_a_page_from_elsewhere_changes_nothing(daemon: Daemon, headers: dict[str, str], status: int) -> None:
    assert ask(daemon, {"request": "rules", "action": "disable", "id": "one"}, **headers)[0] == status
    assert ask(daemon, "request=rules", method="GET")[1]["result"]["rules"]["one"]["enabled"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"5", b'{"request": 5}', b'{"request": "user"}', b"\xff", b"[" * 4000]
)
def test_what_is_no_request_is_refused(daemon: Daemon, body: bytes) -> None:
    assert ask(daemon, body)[0] == 400


def test_bodies_are_bounded_and_may_come_in_pieces(daemon: Daemon) -> None:
    assert ask(daemon, b"x" * 5000)[0] == 413
    with socket.create_connection(daemon.ws_address, timeout=10) as connection:
        for piece in (b"POST /ask HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n",
                      b"Content-Length: 34\r\n\r\n", b'{"request": "why", ', b'"address": "/"}'):  # fmt: skip
            connection.sendall(piece)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    for length in (b"-1", b"x", b"99999999999", b""):
        with socket.create_connection(daemon.ws_address, timeout=10) as connection:
            connection.sendall(b"POST /ask HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: " + length + b"\r\n\r\n{}")
            assert connection.recv(4096).startswith((b"HTTP/1.1 411", b"HTTP/1.1 413"))


def test_every_other_post_is_answered_as_before(daemon: Daemon) -> None:
    with socket.create_connection(daemon.ws_address, timeout=10) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(4096).endswith(b"ok\n")


def test_with_tokens_a_change_needs_one_that_may_do_everything() -> None:
    with Daemon(config=GUARDED) as daemon:
        asked = {"request": "kick", "id": "nobody"}
        assert ask(daemon, asked)[0] == 401
        assert ask(daemon, asked, Authorization="Bearer may-read-only")[0] == 401
        assert ask(daemon, asked, Authorization="Bearer may-do-everything")[1]["error"]["code"] == "unknown-client"


def test_the_last_refusals_are_told(daemon: Daemon) -> None:
    with WsClient(daemon.ws_url) as client:
        client.hello("refused one")
        client.send(Set("/clasp-edge/x", 1))
        while not isinstance(client.recv(), Error):
            pass
        found = json.loads(fetch_clients(daemon))
        mine = next(each for each in found["clients"] if each["name"] == "refused one")
        assert mine["last_error"].startswith("/clasp-edge/ is the router's own")
        newest = found["refusals"][0]
        assert (newest["name"], newest["code"]) == ("refused one", 301)


def fetch_clients(daemon: Daemon) -> bytes:
    connection = http.client.HTTPConnection(*daemon.ws_address, timeout=10)
    connection.request("GET", "/clients.json")
    text = connection.getresponse().read()
    connection.close()
    return text


def test_what_comes_behind_a_request_that_takes_time_is_no_other_request() -> None:
    rules = "".join(
        f'[[rule]]\nid = "r{number}"\ntrigger = {{ type = "set", pattern = "/a/{number}" }}\ndo = [{{ set = "/b" }}]\n'
        for number in range(400)
    )
    with Daemon(config=rules) as daemon, socket.create_connection(daemon.ws_address, 40) as connection:
        body = b'{"request": "reload"}'
        head = b"POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        connection.settimeout(0.01)
        answer = b""
        while not answer:
            try:
                answer = connection.recv(65536)
            except TimeoutError:
                connection.sendall(b"\r\n")
        assert b'"ok":true' in answer
        assert ask(daemon, {"request": "reload"})[1]["ok"]
        assert daemon.stderr.count("reload: applied") == 2


def test_the_trail_is_told_with_what_is_not_stored_yet() -> None:
    with Daemon(sets={"journal.mode": "group"}) as daemon, WsClient(daemon.ws_url) as client:
        client.hello("guest")
        client.sync()
        ask_socket(daemon.control_path, request="reload")

        def told() -> list[str]:
            return [
                text.split(":")[0] for _, text in ask_socket(daemon.control_path, request="audit")["result"]["entries"]
            ]

        assert told() == ["reload"]
        put(client, "/x", 1)  # a commit, which takes it along
        ask_socket(daemon.control_path, request="kick", id="guest")

        assert told() == ["kicked", "reload"]
    with Daemon(sets={"journal.mode": "off"}) as without:
        refused = ask_socket(without.control_path, request="audit")["error"]
        assert refused["code"] == "no-journal"
