"""Who sets a rule off: devices that speak MQTT or OSC and bundles no less than clients, and those who come and go."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from support.daemon import Daemon
from support.federated import await_value, client
from support.mqtt_client import MqttClient
from support.mqtt_packets import V5, V311
from support.osc import Device, bundle, packet

from clasp_edge import wire

RULES = """
[[rule]]
id = "copy"
trigger = { type = "set", pattern = "/**/rules-in/*" }
do = [{ set = "/out/{2}" }]

[[rule]]
id = "crossed"
trigger = { type = "threshold", address = "/mqtt/sensor/heat", above = 30 }
do = [{ set = "/hot", value = true }]

[[rule]]
id = "came"
trigger = { type = "session", event = "join", name = "lamp-*" }
do = [{ set = "/here", value = "{value}" }]

[[rule]]
id = "went"
trigger = { type = "session", event = "leave", name = "lamp-*" }
do = [{ set = "/gone", value = "{value}" }]
"""

LIMIT_S = 40.0


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(config=RULES, mqtt=True, osc=True) as daemon:
        yield daemon


def test_mqtt_and_osc_devices_and_bundles_set_rules_off(daemon: Daemon) -> None:
    with MqttClient(daemon.mqtt_address).connect() as device:
        device.publish("rules-in/mqtt", b"1", retain=True)
        device.publish("sensor/heat", b"20", retain=True)
        device.publish("sensor/heat", b"40", retain=True)
        await_value(daemon, "/out/mqtt", 1, LIMIT_S)
        await_value(daemon, "/hot", True, LIMIT_S)
    with Device(daemon.osc_address) as device:
        device.say("/rules-in/osc", 2)
        device.send(bundle(time.time() - 1, packet("/rules-in/bundled", 3)))
        await_value(daemon, "/out/osc", 2, LIMIT_S)
        await_value(daemon, "/out/bundled", 3, LIMIT_S)
    with client(daemon) as desk:
        desk.send(wire.Bundle((wire.Set("/desk/rules-in/one", 4), wire.Set("/desk/rules-in/two", 5))))
        await_value(daemon, "/out/one", 4, LIMIT_S)
        await_value(daemon, "/out/two", 5, LIMIT_S)


@pytest.mark.parametrize("version", [V311, V5])
def test_mqtt_clients_that_come_and_go_set_rules_off(daemon: Daemon, version: int) -> None:
    device = MqttClient(daemon.mqtt_address, version).connect(f"lamp-{version}")
    await_value(daemon, "/here", f"lamp-{version}", LIMIT_S)
    device.disconnect()
    await_value(daemon, "/gone", f"lamp-{version}", LIMIT_S)
    device = MqttClient(daemon.mqtt_address, version).connect(f"lamp-{version}-b")
    await_value(daemon, "/here", f"lamp-{version}-b", LIMIT_S)
    device.reset()
    await_value(daemon, "/gone", f"lamp-{version}-b", LIMIT_S)
