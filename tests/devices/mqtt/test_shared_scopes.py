"""What a member of a shared subscription leaves goes to those only whose token allows to read it."""

from __future__ import annotations

import asyncio

import pytest

from clasp_edge.clock import Clock
from clasp_edge.config.model import Config
from clasp_edge.devices.mqtt.codec import SubscribeFilter
from clasp_edge.devices.mqtt.server import MqttServer
from clasp_edge.devices.mqtt.session import Session
from clasp_edge.devices.mqtt.subscribe import drop, subscribe
from clasp_edge.router.router import Router
from clasp_edge.security.scope import Scope
from clasp_edge.security.tokens import Identity, Scopes


def member(server: MqttServer, name: str, scope: str) -> Session:
    session = server.new_session(name, server.router.account_of("10.0.0.1"))
    session.identify(Identity(name, Scopes([Scope.parse(scope)]), name, None, b""))
    session.keeps = True
    return session


@pytest.mark.parametrize(("scope", "gets"), [("read:/mqtt/x/**", 0), ("read:/mqtt/job/**", 1)])
def test_what_a_gone_member_had_goes_to_who_may_read_it(scope: str, gets: int) -> None:
    async def run() -> None:
        server = MqttServer(Router(Config(), asyncio.get_running_loop(), Clock(), None))
        first = member(server, "first", "read:/mqtt/**")
        subscribe(first, SubscribeFilter(filter="$share/pool/#", qos=1), 0)
        sender = server.new_session("sender", server.router.account_of("10.0.0.2"))
        sender.publish_topic(b"job/1", b"do", b"", 0xFFFFFFFF, 1, False)
        assert first.waiting == 1
        second = member(server, "second", scope)
        subscribe(second, SubscribeFilter(filter="$share/pool/#", qos=1), 0)
        drop(first, "$share/pool/#")
        assert second.waiting == gets

    asyncio.run(run())
