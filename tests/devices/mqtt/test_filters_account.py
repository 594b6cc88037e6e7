"""Every filter is on its session's account with all that it keeps alive, whoever had the same one before."""

from __future__ import annotations

import asyncio

from clasp_edge.clock import Clock
from clasp_edge.config.model import Config
from clasp_edge.devices.mqtt.codec import SubscribeFilter
from clasp_edge.devices.mqtt.server import MqttServer
from clasp_edge.devices.mqtt.subscribe import drop, subscribe
from clasp_edge.router.router import Router


def test_what_a_gone_session_shared_is_still_paid_for() -> None:
    async def run() -> None:
        server = MqttServer(Router(Config(), asyncio.get_running_loop(), Clock(), None))
        router = server.router
        first = server.new_session("first", router.account_of("10.0.0.1"))
        second = server.new_session("second", router.account_of("10.0.0.2"))
        filters = [f"{number}/" + "deep/" * 60 + "end" for number in range(50)]
        for session in (first, second):
            for text in filters:
                subscribe(session, SubscribeFilter(filter=text, qos=0), 0)
        for text in filters:
            drop(first, text)
        assert first.holding.held(0) == 0
        assert router.accounts.kinds()["subscriptions"] >= router.plane.trie.memory_bytes

    asyncio.run(run())
