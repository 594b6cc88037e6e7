"""Rules changed while the router runs: a file that cannot be used changes nothing, and what is under way goes on."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial

from support.daemon import Daemon
from support.federated import await_value, client
from support.live import eventually

from clasp_edge import wire

RULE = """
[[rule]]
id = "slow"
trigger = { type = "event", pattern = "/go" }
do = [{ set = "/begun", value = 1 }, { delay_s = 3 }, { set = "/ended", value = 1 }]
"""

MORE = """
[[rule]]
id = "more"
trigger = { type = "set", pattern = "/in" }
do = [{ set = "/out" }]
"""


DAMAGE: tuple[tuple[Callable[[str], str], str], ...] = (
    (lambda good: good[:-20], "is not TOML"),
    (lambda good: good.replace('"/ended"', '"/ended/*"'), "has no wildcards"),
    (lambda good: good.replace("delay_s = 3", "delay_s = -1"), "must be a number from 0"),
    (lambda good: good + good, "is already the id"),
    (lambda good: good.replace('type = "event"', 'type = "evnt"'), 'the closest valid one is "event"'),
)


def test_old_rules_go_on_with_what_they_have_under_way() -> None:
    with Daemon(config=RULE) as daemon, client(daemon) as desk:
        file = daemon.directory / "clasp-edge.toml"
        good = file.read_text()
        desk.send(wire.Publish("/go", wire.SignalType.EVENT))
        await_value(daemon, "/begun", 1, 30)
        for damage, said in DAMAGE:
            file.write_text(damage(good))
            daemon.signal(signal.SIGHUP)
            eventually(partial(_has_said, daemon, said), 30)
        file.write_text(good + MORE)
        daemon.signal(signal.SIGHUP)
        eventually(lambda: "applied: rule" in daemon.stderr, 30)
        desk.send(wire.Set("/in", 5))
        await_value(daemon, "/out", 5, 30)
        await_value(daemon, "/ended", 1, 30)
        assert "lost by the reload" not in daemon.stderr


def _has_said(daemon: Daemon, words: str) -> bool:
    return words in daemon.stderr
