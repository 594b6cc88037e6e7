"""A session that is freed with messages waiting gives back what they took, however it is freed."""

from __future__ import annotations

import asyncio
import gc

from clasp_edge.clock import Clock
from clasp_edge.config.model import Config
from clasp_edge.dataplane.account import Accounts
from clasp_edge.devices.mqtt.codec import SubscribeFilter
from clasp_edge.devices.mqtt.server import MqttServer
from clasp_edge.devices.mqtt.subscribe import subscribe
from clasp_edge.router.router import Router


def test_the_garbage_collector_frees_a_session_with_its_queue() -> None:
    """Server, sessions, queues and holdings are one cycle, in which the collector clears references before it frees:
    a write through a cleared reference lands in the type of None."""

    async def run() -> Accounts:
        server = MqttServer(Router(Config(), asyncio.get_running_loop(), Clock(), None))
        account = server.router.account_of("127.0.0.1")
        session = server.new_session("away", account)
        session.keeps = True
        subscribe(session, SubscribeFilter(filter="a/#", qos=1), 0)
        server.new_session("sender", account).publish_topic(b"a/b", b"7" * 1000, b"", 0xFFFFFFFF, 1, False)
        assert session.waiting == 1
        assert server.router.accounts.kinds()["queues"] > 1000
        return server.router.accounts

    accounts = asyncio.run(run())
    accounts.forget_state()  # or it would keep all of it
    gc.collect()
    assert repr(None) == "None"
    assert set(accounts.kinds().values()) == {0}
