"""The configurations that docs/devices.md gives for MQTT devices, as they stand there, with stand-ins that do what such
devices do in public."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import mqtt_packets as packets
from support.daemon import Daemon
from support.live import Crowd, eventually, get, put
from support.mqtt_client import Broker, MqttClient
from support.mqtt_packets import V311, Publish

PAGE = Path(__file__).parents[3] / "docs" / "devices.md"


def configuration(name: str) -> dict[str, Any]:
    """All lines of configuration below the heading in bold, up to the next."""
    text = PAGE.read_text().split(f"**{name}**", 1)[1].split("\n**", 1)[0]
    return tomllib.loads("\n".join(re.findall(r"(?m)^    (.*)$", text)))


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    pages = [configuration(name) for name in ("zigbee2mqtt", "Tasmota", "ESPHome")]
    events = [one for page in pages for one in page["mqtt"]["events"]]
    (mount,) = [one for page in pages for one in page["mqtt"].get("mount", [])]
    lines = "\n".join(f'{key} = "{value}"' for key, value in mount.items())
    with Daemon(mqtt=True, config=f"[mqtt]\nevents = {events}\n[[mqtt.mount]]\n{lines}\n") as running:
        yield running


def _heard(client: MqttClient, count: int) -> list[tuple[str, bytes, bool]]:
    return [(one.topic, one.payload, one.retain) for one in (client.expect(Publish, 30) for _ in range(count))]


def test_tasmota(mqtt: Broker, clasp: Crowd) -> None:
    client = clasp.ws()
    will = packets.Will("tele/lamp/LWT", b"Offline", 1, True)
    relay = mqtt.client(V311, "DVES_1", will=will)
    relay.publish("tele/lamp/LWT", b"Online", qos=1, retain=True)
    relay.subscribe("cmnd/lamp/#", options=0)
    mqtt.client(V311).publish("cmnd/lamp/POWER", b"TOGGLE", qos=1)
    put(client, "/show/lamp", 40)
    heard = _heard(relay, 2)
    assert sorted(heard) == [("cmnd/lamp/Dimmer", b"40", False), ("cmnd/lamp/POWER", b"TOGGLE", False)]
    relay.publish("tele/lamp/SENSOR", b'{"Temp":21.50}', qos=1)
    eventually(lambda: (p := get(client, "/mqtt/tele/lamp/SENSOR")) is not None and p.value == {"Temp": 21.5})
    assert get(client, "/mqtt/cmnd/lamp/POWER") is None, "a command is no state"
    relay.reset()
    watcher = mqtt.client(V311)
    eventually(lambda: (p := get(client, "/mqtt/tele/lamp/LWT")) is not None and p.value == "Offline")
    _, retained = watcher.subscribe_with_retained("tele/#", at_least=1)
    assert [(one.topic, one.payload) for one in retained] == [("tele/lamp/LWT", b"Offline")], (
        "the sensor was not retained"
    )
    # Back: the fader as it stands, and no command again.
    _, retained = mqtt.client(V311, "DVES_1", will=will).subscribe_with_retained("cmnd/lamp/#", at_least=1)
    assert [(one.topic, one.payload) for one in retained] == [("cmnd/lamp/Dimmer", b"40")]


def test_esphome_and_home_assistant(mqtt: Broker, clasp: Crowd) -> None:
    client = clasp.ws()
    home = mqtt.client(V311, will=packets.Will("homeassistant/status", b"offline", 0, True))
    home.publish("homeassistant/status", b"online", qos=1, retain=True)
    node = mqtt.client(V311, "hall", will=packets.Will("hall/status", b"offline", 0, True))
    _, retained = node.subscribe_with_retained("homeassistant/status", at_least=1)
    assert [one.payload for one in retained] == [b"online"]
    discovery = b'{"name":"Lamp", "cmd_t":"hall/light/lamp/command","stat_t":"hall/light/lamp/state"}'
    node.publish("homeassistant/light/hall/lamp/config", discovery, qos=1, retain=True)
    node.publish("hall/light/lamp/state", b'{"state":"OFF"}', qos=1, retain=True)
    node.subscribe("hall/light/lamp/command", options=0)
    _, retained = home.subscribe_with_retained("homeassistant/+/+/+/config", at_least=1)
    assert [one.payload for one in retained] == [discovery], "byte for byte"
    home.publish("hall/light/lamp/command", b'{"state":"ON"}', qos=1)
    assert _heard(node, 1) == [("hall/light/lamp/command", b'{"state":"ON"}', False)]
    eventually(lambda: (p := get(client, "/mqtt/hall/light/lamp/state")) is not None and p.value == {"state": "OFF"})
    assert get(client, "/mqtt/hall/light/lamp/command") is None


def test_zigbee2mqtt(mqtt: Broker, clasp: Crowd) -> None:
    client = clasp.ws()
    bridge = mqtt.client(V311, "zigbee2mqtt", will=packets.Will("zigbee2mqtt/bridge/state", b"offline", 1, True))
    devices = b'[{"friendly_name":"lamp","definition":"' + b"x" * 500_000 + b'"}]'
    bridge.publish("zigbee2mqtt/bridge/devices", devices, qos=1, retain=True)
    bridge.subscribe("zigbee2mqtt/+/set", options=0)
    _, retained = mqtt.client(V311).subscribe_with_retained("zigbee2mqtt/bridge/#", at_least=1)
    assert [one.payload for one in retained] == [devices]
    eventually(lambda: get(client, "/mqtt/zigbee2mqtt/bridge/devices") is not None)
    mqtt.client(V311).publish("zigbee2mqtt/lamp/set", b'{"state":"ON"}', qos=1)
    assert _heard(bridge, 1) == [("zigbee2mqtt/lamp/set", b'{"state":"ON"}', False)]
    assert get(client, "/mqtt/zigbee2mqtt/lamp/set") is None
