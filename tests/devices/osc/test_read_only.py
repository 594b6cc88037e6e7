"""A device that may only read writes nothing, neither by itself nor through what ends loops."""

from __future__ import annotations

from support.client import WsClient
from support.daemon import Daemon
from support.live import get, put
from support.osc import Device

from clasp_edge import wire

CONFIG = """
[security]
mode = "authenticated"

[osc]
scopes = ["read:/**"]

[[security.token]]
token = "admin-token-of-the-test"
scopes = ["admin:/**"]
"""


def quiet(device: Device, timeout_s: float = 0.4) -> str:
    """The address of what it is told, "" if that is nothing for so long."""
    try:
        return device.hear(timeout_s)[0]
    except TimeoutError:
        return ""


def test_what_it_answers_is_never_written() -> None:
    with (
        Daemon(osc=True, config=CONFIG) as daemon,
        WsClient(daemon.ws_url) as client,
        Device(daemon.osc_address) as device,
    ):
        client.send(wire.Hello(1, "desk", (), token="admin-token-of-the-test"))
        client.recv_until(wire.Snapshot)
        put(client, "/osc/fader", 0.0)
        device.say("/clasp/subscribe", "/fader")
        device.renew("/fader")
        while said := quiet(device):  # what it says next is no answer
            assert said
        device.say("/fader", 0.9, tags="f")
        answers = 0
        for _ in range(60):
            if quiet(device, 0.02) == "/fader":
                answers += 1
            device.say("/fader", 0.3 + answers % 50 / 100, tags="f")
        found = get(client, "/osc/fader")
        assert found is not None
        assert found.value == 0.0
        assert found.revision == 1, "nothing was written in between"
