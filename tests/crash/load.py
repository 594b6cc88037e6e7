"""A load of acknowledged writes whose outcome can be told from the params alone: the value is the revision.

One writer per address, so revisions go up by one; whatever is restored must carry the value that went with its
revision, and may only be older than what was acknowledged as far as the mode allows.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass, field

from support import mqtt_client, mqtt_packets
from support.client import Closed, TcpClient, WsClient
from support.daemon import Daemon
from support.live import get, params_of
from support.mqtt_client import MqttClient
from support.mqtt_packets import V5, Ack

from clasp_edge import wire
from clasp_edge.wire import Qos

ADDRESSES = 8
WINDOW = 16


@dataclass
class Acknowledged:
    """For each address, what was acknowledged: (revision, when by the monotonic clock)."""

    writes: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def newest(self, address: str, before_s: float) -> int:
        return max((revision for revision, at_s in self.writes.get(address, ()) if at_s < before_s), default=0)


class Client:
    """Sends SETs to addresses of its own, `WINDOW` at a time, until the daemon is gone."""

    def __init__(self, daemon: Daemon, name: str, revisions: dict[str, int], seed: int) -> None:
        self._name = name
        self._link = TcpClient(daemon.tcp_address)
        self._link.hello(name)
        self._link.sync()
        self._chance = random.Random(seed)
        self.sent = {f"/{name}/{n}": revisions.get(f"/{name}/{n}", 0) for n in range(ADDRESSES)}

    def run(self, until_s: float, acknowledged: Acknowledged) -> None:
        try:
            while time.monotonic() < until_s:
                for _ in range(WINDOW):
                    address = f"/{self._name}/{self._chance.randrange(ADDRESSES)}"
                    self.sent[address] += 1
                    # Lengths vary, so that blocks of every kind are written.
                    value = [self.sent[address], "x" * self._chance.choice((0, 10, 300, 3000))]
                    self._link.send(wire.Set(address, value), Qos.CONFIRM)
                for _ in range(WINDOW):
                    while isinstance(ack := self._link.recv(), wire.Snapshot):
                        pass  # of the greeting: large ones come later
                    assert isinstance(ack, wire.Ack)
                    assert ack.address is not None
                    assert ack.revision is not None
                    acknowledged.writes.setdefault(ack.address, []).append((ack.revision, time.monotonic()))
        except (Closed, TimeoutError, OSError):
            pass
        finally:
            self._link.close()


class Device:
    """The same by MQTT: retained messages, the large ones of which nobody makes a value before the router is gone."""

    def __init__(self, daemon: Daemon, name: str, revisions: dict[str, int], seed: int) -> None:
        self._link = MqttClient(daemon.mqtt_address).connect(name)
        self._chance = random.Random(seed)
        self._name = name
        self.sent = {f"/mqtt/{name}/{n}": revisions.get(f"/mqtt/{name}/{n}", 0) for n in range(ADDRESSES)}

    def run(self, until_s: float, acknowledged: Acknowledged) -> None:
        packet_id = 0
        try:
            while time.monotonic() < until_s:
                waiting: dict[int, tuple[str, int]] = {}
                for _ in range(WINDOW):
                    topic = f"{self._name}/{self._chance.randrange(ADDRESSES)}"
                    address = f"/mqtt/{topic}"
                    self.sent[address] += 1
                    value = [self.sent[address], "x" * self._chance.choice((0, 2000, 20_000))]
                    packet_id = packet_id % 60_000 + 1
                    waiting[packet_id] = address, self.sent[address]
                    payload = json.dumps(value).encode()
                    self._link.send(
                        mqtt_packets.publish(V5, topic, payload, qos=1, retain=True, packet_id=packet_id)
                    )  # fmt: skip
                for _ in range(WINDOW):
                    address, revision = waiting[self._link.expect(Ack).packet_id]
                    acknowledged.writes.setdefault(address, []).append((revision, time.monotonic()))
        except (mqtt_client.Closed, TimeoutError, OSError):
            pass
        finally:
            self._link.vanish()


def restored(daemon: Daemon) -> dict[str, int]:
    """Every param of the load by its revision, after checking that the value belongs to it."""
    found = {}
    with WsClient(daemon.ws_url) as client:
        client.hello("reader")
        params = client.snapshot + params_of(client.sync())
        # Large ones may come later than the answer to a PING.
        asked = [get(client, f"/mqtt/device/{n}") for n in range(ADDRESSES)]
        params += [param for param in asked if param is not None]
    for param in params:
        if param.address.startswith(("/client", "/mqtt/device")):
            assert isinstance(param.value, list)
            assert param.value[0] == param.revision, f"{param.address}: {param.value[0]} at revision {param.revision}"
            assert param.revision is not None
            found[param.address] = param.revision
    return found
