"""Rules switched over CLASP: by whom, and that it is written down."""

from __future__ import annotations

import pytest
from support.client import WsClient
from support.daemon import Daemon
from support.live import eventually
from websockets.sync.client import connect

from clasp_edge import wire

RULE = """
[[rule]]
id = "copy"
trigger = { type = "set", pattern = "/in/*" }
do = [{ set = "/out/{1}" }]
"""

SWITCH = wire.Set("/clasp-edge/rules/copy/enabled", False)


def answer_to_switch(client: WsClient) -> wire.Message:
    client.send(SWITCH, qos=1)
    while not isinstance(answer := client.recv(30), wire.Ack | wire.Error):
        pass
    return answer


def test_a_switch_over_clasp_is_in_the_trail() -> None:
    with Daemon(config=RULE) as daemon, WsClient(daemon.ws_url) as client:
        client.hello("desk")
        assert isinstance(answer_to_switch(client), wire.Ack)
        eventually(lambda: "rules disable" in daemon.stderr, 30)
        [line] = [line for line in daemon.stderr.splitlines() if "rules disable" in line]
        assert "copy" in line
        assert "desk" in line


@pytest.mark.parametrize("field", ["X-Forwarded-For", "Forwarded", "Via"])
def test_what_comes_by_a_proxy_may_come_from_anywhere(field: str) -> None:
    with Daemon(config=RULE) as daemon:
        client = WsClient.__new__(WsClient)
        client.ws = connect(
            daemon.ws_url + "/clasp",
            subprotocols=["clasp"],  # type: ignore[list-item]
            additional_headers={field: "for=203.0.113.9"},
            proxy=None,
        ).__enter__()
        with client:
            client.hello("stranger")
            answer = answer_to_switch(client)
            assert isinstance(answer, wire.Error)
            assert answer.code == wire.ErrorCode.FORBIDDEN
