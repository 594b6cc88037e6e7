"""Published clients of OSCQuery: python-oscquery from PyPI and oscquery from npm read the tree as it stands."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from pythonoscquery.osc_query_client import OSCQueryClient
from pythonoscquery.shared.osc_access import OSCAccess
from support.client import WsClient
from support.daemon import Daemon
from support.javascript import Program
from support.live import eventually, put
from zeroconf import ServiceInfo

from clasp_edge import wire


class NodeClient(Program):
    """`OSCQueryDiscovery` and `DiscoveredService` of oscquery."""

    name = "oscquery.mjs"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(osc=True, sets={"oscquery.listen": "127.0.0.1:0"}) as running:
        yield running


@pytest.fixture(scope="module")
def desk(daemon: Daemon) -> Iterator[WsClient]:
    """Who has filled the tree: a fader with a range, a colour, a switch, a name."""
    client = WsClient(daemon.ws_url)
    client.hello()
    client.sync()
    meta = wire.SignalMeta("%", (0.0, 100.0), description="Front light")
    client.send(wire.Announce("/osc/desk", (wire.Signal("/osc/desk/fader/1", wire.SignalType.PARAM, meta=meta),)))
    client.recv_type(wire.Ack)
    put(client, "/osc/desk/fader/1", 50.5)
    put(client, "/osc/desk/colour", [1, 2, 3])
    put(client, "/osc/desk/on", True)
    put(client, "/osc/desk/name", "Bühne")
    yield client
    client.close()


def split(address: str) -> tuple[str, int]:
    host, port = address.rsplit(":", 1)
    return host, int(port)


def test_python_oscquery(daemon: Daemon, desk: WsClient) -> None:
    host, port = split(daemon.address_of("oscquery"))
    announced = ServiceInfo(
        "_oscjson._tcp.local.", "box._oscjson._tcp.local.", port, addresses=[socket.inet_aton(host)]
    )
    client = OSCQueryClient(announced)
    info = client.get_host_info()
    assert info is not None
    assert (info.osc_ip, info.osc_port) == split(daemon.address_of("osc"))
    assert info.osc_transport == "UDP"
    assert {"VALUE", "RANGE", "DESCRIPTION", "LISTEN"} <= {name for name, has in info.extensions.items() if has}

    tree = client.query_node()
    assert tree is not None
    fader = tree.find_subnode("/desk/fader/1")
    assert fader is not None
    assert (fader.value, fader.access, fader.description) == ([50.5], OSCAccess.READWRITE_VALUE, "Front light")
    name = client.query_node("/desk/name")
    assert name is not None
    assert (name.value, name.type) == (["Bühne"], [str])
    assert client.query_node("/desk/nothing") is None


def test_node_oscquery(daemon: Daemon, desk: WsClient) -> None:
    with NodeClient(*map(str, split(daemon.address_of("oscquery")))) as client:
        client.call("query")
        host = client.call("host")
        assert host["oscPort"] == split(daemon.address_of("osc"))[1]  # and where it was asked: no address is named
        assert client.call("has", "/desk/fader")
        assert not client.call("has", "/desk/nothing")

        methods = client.call("methods")
        fader = methods["/desk/fader/1"]
        assert fader["description"] == "Front light"
        (argument,) = fader["arguments"]
        assert (argument["type"], argument["value"]) == ("f", 50.5)
        assert (argument["range"]["min"], argument["range"]["max"]) == (0, 100)
        assert [item["value"] for item in methods["/desk/colour"]["arguments"]] == [1, 2, 3]
        assert [item["type"] for item in methods["/desk/on"]["arguments"]] == ["T"]

        put(desk, "/osc/desk/fader/1", 75.5)

        def moved() -> bool:
            client.call("update")
            return bool(client.call("methods")["/desk/fader/1"]["arguments"][0]["value"] == 75.5)

        eventually(moved)
