"""OSCQuery as its clients use it: the tree over HTTP, LISTEN over WebSocket, and what strangers send."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder
from support.client import WsClient
from support.daemon import Daemon
from support.live import eventually, get, put
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from clasp_edge import wire

SETS = {"oscquery.listen": "127.0.0.1:0"}
TREE = 20_000
FORGET = wire.Ttl(wire.TtlMode.ABSOLUTE, 0)
"""A lifetime that is over."""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(osc=True, sets=SETS) as running:
        yield running


@pytest.fixture
def client(daemon: Daemon) -> Iterator[WsClient]:
    found = WsClient(daemon.ws_url)
    found.hello()
    found.sync()
    yield found
    found.close()


def address(daemon: Daemon) -> str:
    return daemon.address_of("oscquery")


def asked(daemon: Daemon, path: str, **headers: str) -> tuple[int, Any]:
    """Status and JSON."""
    connection = http.client.HTTPConnection(address(daemon), timeout=20)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    kind = answer.headers.get("Content-Type")
    return answer.status, json.loads(body) if kind == "application/json" else body.decode()


def listener(daemon: Daemon) -> ClientConnection:
    return connect(f"ws://{address(daemon)}/", compression=None, open_timeout=10, proxy=None)


def command(connection: ClientConnection, name: str, path: str) -> None:
    connection.send(json.dumps({"COMMAND": name, "DATA": path}))


def heard(connection: ClientConnection, path: str) -> list[Any]:
    """The arguments of the next OSC message, which is for this address."""
    while True:
        data = connection.recv(timeout=10)
        if isinstance(data, bytes):
            message = OscMessage(data)
            assert message.address == path
            return list(message.params)


def told(connection: ClientConnection) -> tuple[str, str]:
    """The next text."""
    while True:
        data = connection.recv(timeout=10)
        if isinstance(data, str):
            said = json.loads(data)
            return said["COMMAND"], said["DATA"]


def packet(path: str, *values: Any) -> bytes:
    builder = OscMessageBuilder(path)
    for value in values:
        builder.add_arg(value)
    return bytes(builder.build().dgram)


def test_a_node_has_type_value_range_and_access(daemon: Daemon, client: WsClient) -> None:
    meta = wire.SignalMeta(unit="dB", range=(-60.0, 10.0), description="main fader")
    level = wire.Signal("/osc/a/level", wire.SignalType.PARAM, "f32", "rw", meta)
    meter = wire.Signal("/osc/a/meter", wire.SignalType.PARAM, "f32", "read")
    client.send(wire.Announce("/osc/a", (level, meter)))
    client.recv_type(wire.Ack)
    values = {
        "level": -3.5, "meter": 0.25, "mute": True, "name": "Ünï", "rgb": [1, 2.5, "x"], "none": None, "raw": b"\1\2",
        "map": {"k": 1}, "big": 2**40, "inf": float("inf"),
    }  # fmt: skip
    for name, value in values.items():
        put(client, f"/osc/a/{name}", value)
    status, node = asked(daemon, "/a")
    assert status == 200
    assert node["FULL_PATH"] == "/a"
    found = node["CONTENTS"]
    assert found["level"] == {
        "FULL_PATH": "/a/level", "TYPE": "f", "VALUE": [-3.5], "ACCESS": 3, "RANGE": [{"MIN": -60.0, "MAX": 10.0}],
        "DESCRIPTION": "main fader", "UNIT": ["dB"],
    }  # fmt: skip
    assert found["meter"]["ACCESS"] == 1
    seen = {name: (found[name]["TYPE"], found[name]["VALUE"]) for name in values}
    assert seen["mute"] == ("T", [True])
    assert seen["name"] == ("s", ["Ünï"])
    assert seen["rgb"] == ("ifs", [1, 2.5, "x"])
    assert seen["none"] == ("N", [None])
    assert seen["raw"] == ("b", [None])
    assert seen["map"] == ("s", ['{"k":1}'])
    assert seen["big"] == ("h", [2**40])
    assert seen["inf"] == ("f", [None])


def test_maps_within_maps_take_no_more_room_than_they_say(daemon: Daemon, client: WsClient) -> None:
    """As a text within a text, each level would double the last one's backslashes."""
    nested: wire.Value = {"a": b"\1", "b": float("nan"), "c": [1, {"d": '"'}]}
    for _ in range(60):
        nested = {"in": nested}
    put(client, "/osc/nested", nested)
    status, node = asked(daemon, "/nested")
    assert status == 200
    [found] = node["VALUE"]
    found = json.loads(found)
    for _ in range(60):
        found = found["in"]
    assert found == {"a": None, "b": None, "c": [1, {"d": '"'}]}


def test_attributes_are_asked_for_one_by_one(daemon: Daemon, client: WsClient) -> None:
    put(client, "/osc/b/x", 7)
    assert asked(daemon, "/b/x?VALUE") == (200, {"VALUE": [7]})
    assert asked(daemon, "/b/x?TYPE") == (200, {"TYPE": "i"})
    assert asked(daemon, "/b?VALUE")[0] == 204
    assert asked(daemon, "/b/x?RANGE")[0] == 204
    assert asked(daemon, "/b/x?TAGS")[0] == 204
    assert asked(daemon, "/b/x?NONSENSE")[0] == 400
    assert asked(daemon, "/b/y")[0] == 404
    assert asked(daemon, "/b/y?VALUE")[0] == 404
    assert asked(daemon, "/b/%78")[1]["VALUE"] == [7]
    status, info = asked(daemon, "/?HOST_INFO")
    assert status == 200
    assert (info["OSC_PORT"], info["OSC_TRANSPORT"]) == (daemon.osc_address[1], "UDP")
    assert info["WS_PORT"] == int(address(daemon).rpartition(":")[2])
    assert info["EXTENSIONS"]["LISTEN"]
    assert info["EXTENSIONS"]["PATH_ADDED"]


def test_what_is_listened_to_comes_as_osc_and_no_more_after_ignore(daemon: Daemon, client: WsClient) -> None:
    put(client, "/osc/c/x", 0.5)
    with listener(daemon) as browser:
        command(browser, "LISTEN", "/c/x")
        assert heard(browser, "/c/x") == [0.5]
        put(client, "/osc/c/x", 0.75)
        assert heard(browser, "/c/x") == [0.75]
        put(client, "/osc/c/y", 1)
        command(browser, "IGNORE", "/c/x")
        command(browser, "LISTEN", "/c/y")
        # The second command has been carried out when a value of it comes.
        assert heard(browser, "/c/y") == [1]
        put(client, "/osc/c/x", 0.1)
        put(client, "/osc/c/y", 2)
        assert heard(browser, "/c/y") == [2]


def test_values_may_be_sent_over_the_same_connection_and_do_not_come_back(daemon: Daemon, client: WsClient) -> None:
    with listener(daemon) as browser, listener(daemon) as other:
        # There before they listen: what comes while a first state is told is told twice.
        put(client, "/osc/d/mark", 0)
        for each in (browser, other):
            command(each, "LISTEN", "/d/x")
            command(each, "LISTEN", "/d/mark")
        assert heard(browser, "/d/mark") == heard(other, "/d/mark") == [0]
        browser.send(packet("/d/x", 0.25))
        assert heard(other, "/d/x") == [0.25]
        found = eventually(lambda: get(client, "/osc/d/x"))
        assert found.value == 0.25
        put(client, "/osc/d/mark", 1)
        # Who says something for the first time is told the state once more; its own value is not in it.
        while heard(browser, "/d/mark") != [1]:
            pass


def test_paths_that_come_and_go_are_told(daemon: Daemon, client: WsClient) -> None:
    with listener(daemon) as browser:
        command(browser, "LISTEN", "/e/mark")
        put(client, "/osc/e/mark", 0)
        while told(browser) != ("PATH_ADDED", "/e/mark"):
            pass
        put(client, "/osc/e/new", 1)
        assert told(browser) == ("PATH_ADDED", "/e/new")
        put(client, "/osc/e/new", None, ttl=FORGET)
        assert told(browser) == ("PATH_REMOVED", "/e/new")


def test_a_large_tree_is_whole_and_holds_nobody_up() -> None:
    with Daemon(osc=True, sets=SETS) as daemon:
        writer = WsClient(daemon.ws_url)
        writer.hello()
        for start in range(0, TREE, 500):
            sets = tuple(wire.Set(f"/osc/n{n % 40}/p{n}", n) for n in range(start, start + 500))
            writer.send(wire.Bundle(sets))
            writer.sync(timeout=20.0)
        with socket.create_connection(daemon.address_pair("oscquery")) as idle:
            # Who asks for all and reads nothing takes no more than what the system buffers.
            idle.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            status, node = asked(daemon, "/")
            assert status == 200
            assert sum(len(each["CONTENTS"]) for each in node["CONTENTS"].values()) == TREE
            began_s = time.monotonic()
            writer.sync()
            assert time.monotonic() - began_s < 5.0
        writer.close()


def test_what_is_no_command_is_passed_over(daemon: Daemon, client: WsClient) -> None:
    with listener(daemon) as browser:
        for text in ("", "{", "[]", '{"COMMAND": "LISTEN"}', '{"COMMAND": "LISTEN", "DATA": 5}', "[" * 5000):
            browser.send(text)
        for path in ("", "x", "/*", "/a//b", "/" + "x" * 2000, "/\u0000"):
            command(browser, "LISTEN", path)
        browser.send(b"no osc")
        command(browser, "LISTEN", "/f/x")
        put(client, "/osc/f/x", 3)
        assert heard(browser, "/f/x") == [3]


def test_a_flood_of_commands_ends_the_connection_and_disturbs_nobody(daemon: Daemon, client: WsClient) -> None:
    def flood(connection: ClientConnection) -> None:
        for n in range(100_000):
            command(connection, "LISTEN", f"/flood/{n}")

    with listener(daemon) as flooding:
        with pytest.raises(ConnectionClosed):
            flood(flooding)
        put(client, "/osc/g", 1)
    assert asked(daemon, "/g?VALUE") == (200, {"VALUE": [1]})


def test_a_page_from_elsewhere_gets_nothing(daemon: Daemon) -> None:
    assert asked(daemon, "/", Host="evil.example.com")[0] == 403
    with pytest.raises(Exception, match="403"):
        connect(f"ws://{address(daemon)}/", origin="http://evil.example.com", proxy=None)  # type: ignore[arg-type]


def test_rights_are_those_of_osc_devices() -> None:
    config = """
[security]
mode = "authenticated"
[[security.token]]
token = "all-of-it-and-more"
scopes = ["admin:/**"]
[osc]
scopes = ["read:/osc/open/**", "write:/osc/open/w"]
"""
    with Daemon(osc=True, sets=SETS, config=config) as daemon:
        client = WsClient(daemon.ws_url)
        client.hello(token="all-of-it-and-more")
        client.sync()
        for name in ("open/x", "open/w", "secret/x"):
            put(client, f"/osc/{name}", 1)
        node = asked(daemon, "/")[1]
        assert list(node["CONTENTS"]) == ["open"]
        assert {name: each["ACCESS"] for name, each in node["CONTENTS"]["open"]["CONTENTS"].items()} == {"x": 1, "w": 3}
        assert asked(daemon, "/secret/x")[0] == 404
        with listener(daemon) as browser:
            command(browser, "LISTEN", "/secret/x")
            command(browser, "LISTEN", "/open/x")
            assert heard(browser, "/open/x") == [1]
            put(client, "/osc/secret/x", 2)
            put(client, "/osc/open/x", 2)
            assert heard(browser, "/open/x") == [2]
        client.close()


def test_not_from_networks_that_osc_does_not_allow() -> None:
    with Daemon(osc=True, sets=SETS | {"osc.allow": '["10.0.0.0/8"]'}) as daemon:
        assert asked(daemon, "/")[0] == 403


NETWORK = """
[security]
mode = "authenticated"

[osc]
scopes = ["read:/**"]

[[security.network]]
networks = ["127.0.0.0/8"]
protocols = ["osc"]
scopes = ["read:/osc/open/**"]

[[security.token]]
token = "admin-token-of-the-test"
scopes = ["admin:/**"]
"""


def test_what_a_network_may_not_read_is_neither_shown_nor_told() -> None:
    with (
        Daemon(osc=True, config=NETWORK, sets=SETS) as daemon,
        WsClient(daemon.ws_url) as client,
        listener(daemon) as connection,
    ):
        client.send(wire.Hello(1, "client", (), token="admin-token-of-the-test"))
        client.recv_until(wire.Snapshot)
        for name in ("open", "secret"):
            put(client, f"/osc/{name}/a", 1)
        assert asked(daemon, "/open/a")[0] == 200
        assert asked(daemon, "/secret/a")[0] == 404
        assert "secret" not in json.dumps(asked(daemon, "/")[1])
        for path in ("/secret/a", "/open/a"):
            command(connection, "LISTEN", path)
        assert heard(connection, "/open/a") == [1]
        put(client, "/osc/secret/a", 2)
        put(client, "/osc/open/a", 3)
        assert heard(connection, "/open/a") == [3]
        # The rights become less while it listens.
        narrower = NETWORK.replace("read:/osc/open/**", "read:/osc/other/**")
        (daemon.directory / "clasp-edge.toml").write_text(narrower)
        daemon.hangup()
        eventually(lambda: asked(daemon, "/open/a")[0] == 404)
        put(client, "/osc/open/a", 4)
        put(client, "/osc/other/b", 5)
        command(connection, "LISTEN", "/other/b")
        assert heard(connection, "/other/b") == [5]
