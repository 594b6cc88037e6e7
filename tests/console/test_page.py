"""The page over plain HTTP: its files, their size, who may connect from where, and what /tree.json tells to whom."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from support.client import WsClient
from support.console import ask, clasp_edge
from support.daemon import Daemon
from support.live import Crowd, eventually, put
from support.mqtt_client import MqttClient

from clasp_edge.wire import Hello, Snapshot, Welcome

FIRST_VIEW = (
    "vendor/htm-preact.js", "vendor/uplot.js", "vendor/uplot.css", "page.css", "icon.svg", "main.js", "link.js",
    "codec.js", "text.js", "overview.js",
)  # fmt: skip
MAX_FIRST_VIEW_BYTES = 100_000
MAX_PACKED_BYTES = 45_000

UPGRADE = (
    "GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{more}\r\n"
)

SCOPED = """
[security]
mode = "authenticated"
[[security.token]]
token = "all"
scopes = ["admin:/**"]
[[security.token]]
token = "part"
scopes = ["read:/stage/desk/**", "read:/lamp"]
"""


def fetch(daemon: Daemon, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(*daemon.ws_address, timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {name.lower(): text for name, text in answer.getheaders()}, body


def upgraded(daemon: Daemon, host: str, more: str = "") -> bytes:
    """What comes back for a WebSocket's opening handshake."""
    with socket.create_connection(daemon.ws_address, timeout=10) as connection:
        connection.sendall(UPGRADE.format(host=host, more=more).encode())
        return connection.recv(4096)


def tree(daemon: Daemon, query: str, **headers: str) -> dict[str, Any]:
    status, _, body = fetch(daemon, f"/tree.json?{query}", **headers)
    assert status == 200, body
    found: dict[str, Any] = json.loads(body)
    return found


@pytest.fixture(scope="module")
def filled() -> Iterator[Daemon]:
    with Daemon() as running:
        client = WsClient(running.ws_url)
        client.hello()
        for address in ("/stage/desk/fader", "/stage/desk", "/stage/lamp", "/a", "/ab/c", "/a/b", "/Zone/FADER"):
            put(client, address, 1)
        yield running
        client.close()


def test_a_browser_gets_the_page_and_a_health_check_ok(daemon: Daemon) -> None:
    status, fields, body = fetch(daemon, "/", Accept="text/html,application/xhtml+xml;q=0.9")
    assert status == 200
    assert fields["content-type"] == "text/html; charset=utf-8"
    assert b'<script type="module" src="page/main.js">' in body
    for accept in ("*/*", "application/json"):
        assert fetch(daemon, "/", Accept=accept)[2] == b"ok\n"
    assert fetch(daemon, "/anything", Accept="text/html")[2] == b"ok\n"


def test_nothing_inline_and_nothing_from_elsewhere(daemon: Daemon) -> None:
    page = fetch(daemon, "/", Accept="text/html")[2].decode()
    policy = fetch(daemon, "/", Accept="text/html")[1]["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]*src=)|<style|style=|https?://| on\w+=", page)
    for name in FIRST_VIEW:
        if not name.startswith("vendor"):
            text = fetch(daemon, f"/page/{name}")[2].decode().replace("http://www.w3.org/2000/svg", "")
            assert not re.search(r"https?://", text), name
            assert "innerHTML" not in text, name


def test_the_first_view_is_small(daemon: Daemon) -> None:
    plain = packed = len(fetch(daemon, "/", Accept="text/html")[2])
    for name in FIRST_VIEW:
        status, fields, body = fetch(daemon, f"/page/{name}", Accept_Encoding="gzip, br")
        assert status == 200, name
        assert fields["content-encoding"] == "gzip"
        assert fields["x-content-type-options"] == "nosniff"
        whole = gzip.decompress(body)
        assert whole == fetch(daemon, f"/page/{name}")[2]
        plain, packed = plain + len(whole), packed + len(body)
    assert plain < MAX_FIRST_VIEW_BYTES
    assert packed < MAX_PACKED_BYTES


def test_what_a_browser_has_is_not_sent_again(daemon: Daemon) -> None:
    _, fields, _ = fetch(daemon, "/page/main.js")
    status, again, body = fetch(daemon, "/page/main.js", If_None_Match=f'"other", {fields["etag"]}')
    assert (status, body) == (304, b"")
    assert again["etag"] == fields["etag"]
    assert fetch(daemon, "/page/main.js", "HEAD")[::2] == (200, b"")


@pytest.mark.parametrize("path", ["/page/", "/page/../files.py", "/page/%2e%2e/files.py", "/page//etc/passwd",
                                  "/page/vendor/README.md", "/page/vendor", "/page/main.js/"])  # fmt: skip
def test_only_the_files_of_the_page_are_served(daemon: Daemon, path: str) -> None:
    assert fetch(daemon, path)[::2] == (404, b"no such file\n")


def test_pages_of_other_origins_may_not_connect(daemon: Daemon) -> None:
    port = daemon.ws_address[1]
    own = f"127.0.0.1:{port}"
    assert b" 101 " in upgraded(daemon, own)
    assert b" 101 " in upgraded(daemon, "rebind.example")  # a program that is no browser may call us what it likes
    for host in (own, f"localhost:{port}", f"box.local:{port}", f"[::1]:{port}", socket.gethostname()):
        assert b" 101 " in upgraded(daemon, host, f"Origin: http://{host}\r\n"), host
    for host, origin in (
        (own, "https://evil.example"),
        (own, "null"),
        (own, "http://127.0.0.1:1"),
        (own, f"http://127.0.0.1:{port}.evil.example"),
        (own, f"http://evil.example@127.0.0.1:{port}"),
        ("rebind.example", "http://rebind.example"),
    ):
        for protocol in ("clasp", "mqtt"):
            answer = upgraded(daemon, host, f"Origin: {origin}\r\nSec-WebSocket-Protocol: {protocol}\r\n")
            assert answer.startswith(b"HTTP/1.1 403 "), (host, origin)
            assert b"websocket.origins" in answer
    eventually(lambda: "a page of 'https://evil.example' may not connect" in daemon.stderr)


def test_listed_origins_may() -> None:
    sets = {"websocket.origins": '["https://show.example.org", "http://10.0.0.5:3000", "null"]'}
    with Daemon(sets=sets) as daemon:
        for origin in ("https://show.example.org", "HTTP://10.0.0.5:3000", "null"):
            assert b" 101 " in upgraded(daemon, "127.0.0.1", f"Origin: {origin}\r\n")
        assert b" 403 " in upgraded(daemon, "127.0.0.1", "Origin: http://show.example.org:81\r\n")
        assert fetch(daemon, "/metrics", Host="show.example.org")[0] == 200


def test_an_origin_is_checked_in_the_configuration() -> None:
    for wrong in ("show.example.org", "https://show.example.org/", ""):
        checked = clasp_edge("check", "--set", f'websocket.origins=["{wrong}"]')
        assert checked.returncode == 1, wrong
        assert "websocket.origins" in checked.stdout


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/metrics", "/status.json", "/clients.json", "/tree.json"])
def test_foreign_names_that_lead_here_are_not_answered(daemon: Daemon, path: str) -> None:
    status, _, body = fetch(daemon, path, Accept="text/html", Host="rebind.example:7330")
    assert status == 403
    assert b"'rebind.example:7330' is no name of this machine" in body
    for host in ("127.0.0.1", "[::1]:80", "localhost:9", "stage-left.local"):
        assert fetch(daemon, path, Accept="text/html", Host=host)[0] == 200, host
    assert fetch(daemon, "/healthz", Host="rebind.example")[0] == 200
    assert fetch(daemon, "/", Host="rebind.example")[2] == b"ok\n"


def test_status_is_that_of_the_control_socket(daemon: Daemon) -> None:
    status, fields, body = fetch(daemon, "/status.json")
    assert (status, fields["content-type"]) == (200, "application/json")
    assert json.loads(body).keys() == ask(daemon.control_path, request="status")["result"].keys()
    with Daemon(sets={"console.metrics_from": '["192.0.2.0/24"]'}) as closed:
        assert fetch(closed, "/status.json")[0] == 403
        assert fetch(closed, "/clients.json")[0] == 403


def test_branches_one_level_at_a_time(filled: Daemon) -> None:
    top = tree(filled, "at=")["branches"]
    assert [entry for entry in top if entry[0] != "clasp-edge"] == [
        ["Zone", False, True], ["a", True, True], ["ab", False, True], ["stage", False, True]
    ]  # fmt: skip
    assert tree(filled, "at=/stage")["branches"] == [["desk", True, True], ["lamp", True, False]]
    assert tree(filled, "at=/stage/desk/fader")["branches"] == []
    assert tree(filled, "at=/nobody")["branches"] == []
    assert tree(filled, "find=fader")["addresses"] == ["/Zone/FADER", "/stage/desk/fader"]
    for junk in (
        "at=%ff%00",
        "at=" + "/x" * 1500,
        "after=zz",
        "find=" + "y" * 3000,
        "at=/a&after=" + "00" * 3000,
        "%%%",
    ):
        tree(filled, junk)
    filled.assert_healthy()


def test_a_large_branch_comes_in_pieces() -> None:
    with Daemon() as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        names = [f"p{number:04}" for number in range(450)]
        for name in names:
            put(client, f"/many/{name}", 0)
        found, after, pieces = [], "", 0
        while True:
            piece = tree(daemon, f"at=/many&after={after}")
            found += [name for name, _, _ in piece["branches"]]
            pieces += 1
            if not (after := piece["next"]):
                break
        assert (found, pieces) == (names, 3)
        crowd.leave()


def test_who_may_not_read_is_told_nothing() -> None:
    with Daemon(config=SCOPED) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws(token="all")
        for address in ("/stage/desk/fader", "/stage/lamp", "/lamp", "/lamp/inner", "/secret/wifi"):
            put(client, address, 1)
        assert fetch(daemon, "/tree.json")[0] == 401
        assert fetch(daemon, "/tree.json", Authorization="Bearer wrong")[0] == 401
        part = {"Authorization": "Bearer part"}
        assert tree(daemon, "at=", **part)["branches"] == [["lamp", True, False], ["stage", False, True]]
        assert tree(daemon, "at=/stage", **part)["branches"] == [["desk", False, True]]
        assert tree(daemon, "at=/secret", **part)["branches"] == []
        assert tree(daemon, "find=wifi", **part)["addresses"] == []
        assert fetch(daemon, "/status.json", X_Forwarded_For="1", **part)[0] == 401
        assert fetch(daemon, "/page/main.js")[0] == 200  # the page itself is no secret
        crowd.leave()


def test_a_bare_client_is_sent_no_state(filled: Daemon) -> None:
    client = WsClient(filled.ws_url)
    client.send(Hello(1, "page", ("param", "bare")))
    client.recv_type(Welcome)
    assert list(client.recv_type(Snapshot).params) == []
    client.close()
    # Who sets every bit does not mean it.
    everything = WsClient(filled.ws_url)
    everything.send_raw(bytes.fromhex("530100080101ff0001780000"))
    everything.recv_type(Welcome)
    assert len(everything.recv_type(Snapshot).params) > 5
    everything.close()


def test_clients_are_listed_and_kicked() -> None:
    with Daemon(mqtt=True) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws("<desk>")
        device = MqttClient(daemon.mqtt_address)
        device.connect("lamp-7")
        listed = json.loads(clasp_edge("clients", "--json", "--set", f"data_dir={daemon.data_dir}").stdout)
        assert listed == ask(daemon.control_path, request="clients", all=True)["result"] | {
            key: listed[key] for key in ("clients", "osc", "federation", "uplinks", "bridges") if key in listed
        }
        by_name = {each["name"]: each for each in listed["clients"]}
        assert by_name.keys() == {"<desk>", "lamp-7"}
        assert by_name["<desk>"]["protocol"] == "clasp"
        assert by_name["lamp-7"]["id"] == "mqtt:lamp-7"
        text = clasp_edge("clients", "--set", f"data_dir={daemon.data_dir}").stdout
        assert "lamp-7  mqtt:lamp-7  mqtt" in text
        refused = clasp_edge("kick", "nobody", "--set", f"data_dir={daemon.data_dir}")
        assert refused.returncode == 1
        kicked = clasp_edge("kick", "<desk>", "--set", f"data_dir={daemon.data_dir}")
        assert kicked.returncode == 0, kicked.stderr
        assert client.wait_closed().reason == "closed by the operator"
        assert clasp_edge("kick", "mqtt:lamp-7", "--set", f"data_dir={daemon.data_dir}").returncode == 0
        eventually(lambda: ask(daemon.control_path, request="clients")["result"]["count"] == 0)
        device.expect_closed(0x98)
        device.socket.close()
        crowd.leave()
