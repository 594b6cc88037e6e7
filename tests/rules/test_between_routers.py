"""Rules of two routers that set each other off over a link, where nobody counts how deep the cascade is: what the
manual promises of it."""

from __future__ import annotations

from support.federated import await_up, await_value, box, client, state, uplink, value
from support.live import eventually

from clasp_edge import wire

RING = """
[[rule]]
id = "answers"
trigger = {{ type = "event", pattern = "{hears}" }}
do = [{{ publish = "{says}", value = 1 }}]
"""

ANSWERS = """
[[rule]]
id = "answers"
max_per_second = 1
trigger = {{ type = "event", pattern = "{hears}" }}
do = [{{ publish = "{says}", value = 1 }}]
"""

FOLLOWS = """
[[rule]]
id = "follows"
trigger = {{ type = "change", pattern = "{hears}" }}
do = [{{ set = "{says}" }}]
"""


def link(url: str) -> str:
    return uplink(url, owns=["/box/**"], wants=["/hub/**"])


def test_rules_without_rest_end_by_the_breaker() -> None:
    with box(extra=ANSWERS.format(hears="/box/ping", says="/hub/pong")) as hub:
        rules = ANSWERS.format(hears="/hub/pong", says="/box/ping")
        with box(link(hub.ws_url), extra=rules) as here:
            await_up(here)
            with client(here) as desk:
                desk.send(wire.Publish("/box/ping", wire.SignalType.EVENT, 1))
                # Whichever of the two comes to its limit first ends the ring.
                switch = "/clasp-edge/rules/answers/enabled"
                eventually(lambda: value(hub, switch) is False or value(here, switch) is False, 60)
                stopped = hub if value(hub, switch) is False else here
                assert "max_per_second" in str(value(stopped, "/clasp-edge/rules/answers/last_error"))
            assert state(here) == "up"


def test_a_ring_is_recognised_and_named() -> None:
    with box(extra=RING.format(hears="/box/ping", says="/hub/pong")) as hub:
        rules = RING.format(hears="/hub/pong", says="/box/ping")
        with box(link(hub.ws_url), extra=rules) as here:
            await_up(here)
            with client(here) as desk:
                desk.send(wire.Publish("/box/ping", wire.SignalType.EVENT, 1))
                switch = "/clasp-edge/rules/answers/enabled"
                eventually(lambda: value(hub, switch) is False or value(here, switch) is False, 120)
                stopped = hub if value(hub, switch) is False else here
                # On a machine that is very fast, the breaker.
                assert "over a link" in stopped.stderr or "max_per_second" in stopped.stderr
            assert state(here) == "up"


def test_rules_that_copy_come_to_rest() -> None:
    with (
        box(extra=FOLLOWS.format(hears="/box/a", says="/hub/a")) as hub,
        box(link(hub.ws_url), extra=FOLLOWS.format(hears="/hub/a", says="/box/a")) as here,
    ):
        await_up(here)
        with client(here) as desk:
            for number in (1, 2, 3):
                desk.send(wire.Set("/box/a", number))
                await_value(hub, "/hub/a", number, 30)
                await_value(here, "/hub/a", number, 30)
            desk.send(wire.Set("/box/last", 1))
            await_value(hub, "/box/last", 1, 30)
        # The last write went there and back before /box/last came; nothing has gone round for it.
        for router in (hub, here):
            assert int(str(value(router, "/clasp-edge/rules/follows/fired") or 0)) <= 6
            assert value(router, "/clasp-edge/rules/follows/enabled") is True
