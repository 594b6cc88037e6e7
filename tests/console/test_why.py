"""`clasp-edge why`: five reasons for which a fader on one box does not move a lamp on another, each found by name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.client import WsClient
from support.console import ask, clasp_edge
from support.daemon import Daemon
from support.federated import box, uplink
from support.live import eventually, put, subscribe
from support.mqtt_client import MqttClient

from clasp_edge.wire import Bundle, Set, SignalType, Subscribe

FADER = "/box2/fader/1"


def findings(daemon: Daemon, address: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask(daemon.control_path, request="why", address=address)["result"]["findings"]
    return found


def reasons(daemon: Daemon, address: str) -> str:
    """What may be in the way, a line each."""
    return "\n".join(f"{each['about']}: {each['text']}" for each in findings(daemon, address) if each["well"] is False)


def told(daemon: Daemon, address: str) -> str:
    return "\n".join(f"{each['about']}: {each['text']}" for each in findings(daemon, address))


@pytest.fixture(scope="module")
def hub() -> Iterator[Daemon]:
    rule = '[[rule]]\nid = "fader-to-lamp"\nenabled = false\ntrigger = { type = "change", pattern = "/box2/fader/*" }\n'
    rule += 'do = [{ set = "/lamp/{1}", value = 1 }]\n'
    with Daemon(config=rule, mqtt=True) as running:
        yield running


def joined(daemon: Daemon, name: str) -> WsClient:
    client = WsClient(daemon.ws_url).hello(name)
    client.sync()
    return client


def test_all_is_well(hub: Daemon) -> None:
    desk, lamp = joined(hub, "desk"), joined(hub, "lamp")
    put(desk, "/plain/x", 0.5)
    subscribe(lamp, "/plain/**")
    text = told(hub, "/plain/x")
    assert "param: is 0.5 (float, revision 1), written by desk (127.0.0.1:" in text
    assert "client lamp (127.0.0.1:" in text
    assert "is told: subscribed by /plain/**" in text
    assert reasons(hub, "/plain/x") == ""
    desk.close()
    lamp.close()


def test_too_early_too_fast_events_only_or_elsewhere() -> None:
    with Daemon(messages_per_second=60) as daemon:
        desk, lamp, calm = joined(daemon, "desk"), joined(daemon, "lamp"), joined(daemon, "calm")
        at = int(time.time()) + 1800
        desk.send(Bundle([Set("/box2/early", 1)], timestamp=at * 1_000_000))
        desk.send(Bundle([Set("/box2/early2", 1)], timestamp=at * 1_000_000))
        lamp.send(Subscribe(1, "/box2/early/level"))
        lamp.send(Subscribe(2, "/box2/events", types=(SignalType.EVENT,)))
        lamp.sync()
        desk.sync()
        early = told(daemon, "/box2/early")
        assert early.count("waits for its time") == 1
        assert "is the clock of the sender right?" in reasons(daemon, "/box2/early")
        assert "is subscribed to /box2/early/level, which this address is not in" in early
        assert "waits for its time" not in told(daemon, "/box2/earl")
        put(calm, "/box2/events", 1)
        assert "is subscribed by /box2/events, but not to params" in reasons(daemon, "/box2/events")
        lamp.send(Subscribe(3, "/box2/*"))
        lamp.sync()
        assert reasons(daemon, "/box2/events") == ""  # by another subscription it is told
        for number in range(300):
            desk.send(Set("/box2/fast", number), qos=0)
        eventually(lambda: "client desk" in reasons(daemon, "/box2/fast"))
        assert "sends too fast" in reasons(daemon, "/box2/fast")
        assert reasons(daemon, "/box2/events") == ""  # what somebody else has written is not its fault
        for each in (desk, lamp, calm):
            each.close()


def test_the_uplink_is_down() -> None:
    with box(uplink("ws://127.0.0.1:9", owns=["/box2/**"])) as daemon:
        eventually(lambda: "would carry it (owns), but is" in reasons(daemon, FADER))
        eventually(lambda: "connection refused" in reasons(daemon, FADER))


def test_no_uplink_carries_it(hub: Daemon) -> None:
    with box(uplink(hub.ws_url, owns=["/box-two/**"])) as daemon:
        desk = joined(daemon, "desk")
        put(desk, FADER, 0.5)
        assert "uplink hub: does not carry it: it is in neither owns nor wants (/box-two/**)" in reasons(daemon, FADER)
        desk.close()


def test_the_rule_is_switched_off_and_then_does_not_fire(hub: Daemon) -> None:
    desk = joined(hub, "desk")
    put(desk, FADER, 0.5)
    assert "rule fader-to-lamp: looks at it; it is switched off" in reasons(hub, FADER)
    desk.close()


def test_the_lamp_listens_somewhere_else_or_is_away(hub: Daemon) -> None:
    desk = joined(hub, "desk")
    put(desk, "/wrong/lamp-7", 0.5)
    assert "nobody has written it here" in reasons(hub, "/right/lamp-7")
    assert "address like it: /wrong/lamp-7, written" in told(hub, "/right/lamp-7")
    device = MqttClient(hub.mqtt_address, version=4)
    device.connect("lamp-7", clean=False)
    device.subscribe("dimmer", options=1)
    device.socket.close()
    put(desk, "/mqtt/dimmer", 1)
    eventually(lambda: "mqtt client lamp-7: is subscribed by /mqtt/dimmer and is away" in reasons(hub, "/mqtt/dimmer"))
    desk.close()


def test_somebody_has_locked_it(hub: Daemon) -> None:
    desk = joined(hub, "desk")
    put(desk, "/locked/x", 1, lock=True)
    assert "param: is locked by desk (127.0.0.1:" in reasons(hub, "/locked/x")
    desk.close()


def test_an_osc_device_that_is_not_found() -> None:
    target = '[[osc.target]]\nname = "lamp"\nhost = "no-such-host.invalid"\nport = 9000\npatterns = ["/osc/lamp/**"]\n'
    with Daemon(config=target, osc=True) as daemon:
        assert "osc device lamp: is to be sent it by /osc/lamp/**, but its host is not found" in reasons(
            daemon, "/osc/lamp/1"
        )
        assert "/fader/1 is /osc/fader/1 here" in told(daemon, "/lamp/1")


def test_on_the_command_line(hub: Daemon) -> None:
    shown = clasp_edge("why", "/nobody/x", "--set", f"data_dir={hub.data_dir}")
    assert shown.returncode == 1
    assert "! param: nobody has written it here" in shown.stdout
    wrong = clasp_edge("why", "x", "--set", f"data_dir={hub.data_dir}")
    assert (wrong.returncode, wrong.stderr) == (1, "clasp-edge: The address must start with '/'.\n")
