"""Clients of a history: each writes at one router, as long as it is there, and remembers what was acknowledged.

They set and clear params that everybody or one router owns, give lifetimes, take locks and let them go, expect
revisions, publish retained MQTT messages and clear them, and say numbered events.
"""

from __future__ import annotations

import asyncio
import random
import zlib
from collections import Counter
from collections.abc import Iterable

from outages.network import Client, MqttWriter, Router

from clasp_edge import wire

ADDRESSES = 4
"""Params below each prefix: few, so that writes meet."""

STRATEGIES = ("max", "min", "merge")
"""Of the params `/sh/max`, `/sh/min` and `/sh/merge`; those who decide about them are told so."""

PAUSE_S = 0.04
"""Between two writes, at most."""

OVER = wire.Ttl(wire.TtlMode.ABSOLUTE, 0)
NEVER = wire.Ttl(wire.TtlMode.NEVER)


class Told:
    """What all writers of a history were told of what they wrote."""

    def __init__(self, names: Iterable[str]) -> None:
        self.own: dict[str, object] = {}
        """By address: the value acknowledged last."""
        self.uncertain: set[str] = set()
        """Addresses of which an answer was not heard."""
        self.events: dict[str, list[int]] = {name: [] for name in names}
        """By router: numbers, negative where no ACK was heard."""
        self.writes = 0
        self.refused: Counter[int] = Counter()
        """ERRORs by code, at once or afterwards."""


class Writer:
    """At one router. Ends with `over`."""

    def __init__(self, router: Router, names: list[str], seed: int, told: Told, over: asyncio.Event) -> None:
        self._router = router
        self._name = router.name
        self._names = names
        self._chance = random.Random(seed * 1000 + zlib.crc32(self._name.encode()) % 997)
        self._told = told
        self._over = over
        self._number = 0
        self._revisions: dict[str, int] = {}
        self._locked = ""

    async def run(self) -> None:
        """Until it is over, with a new connection where one is gone."""
        while not self._over.is_set():
            try:
                client = await Client(self._router.tcp, self._on_error).open()
            except (OSError, TimeoutError):
                await asyncio.sleep(0.2)
                continue
            mqtt = MqttWriter(self._router.mqtt)
            self._address = self._locked = ""
            self._revisions.clear()
            try:
                while not self._over.is_set():
                    await self._write(client, mqtt)
                    self._told.writes += 1
                    await asyncio.sleep(self._chance.uniform(0, PAUSE_S))
            except (OSError, EOFError, TimeoutError):
                self._told.uncertain.add(self._address)
            finally:
                client.close()
                mqtt.close()

    def _on_error(self, error: wire.Error) -> None:
        self._told.refused[error.code] += 1

    def _value(self) -> int:
        self._number += 1
        return self._number * 10 + int(self._name[1]) + (100_000 if self._name[0] == "h" else 0)

    async def _write(self, client: Client, mqtt: MqttWriter) -> None:
        self._address = ""
        what = self._chance.random()
        if what < 0.27:
            await self._event(client)
        elif what < 0.32:
            await self._mqtt(mqtt)
        elif what < 0.38:
            await self._decided(client)
        else:
            await self._param(client)

    async def _event(self, client: Client) -> None:
        value = self._value()
        said = self._told.events[self._name]
        said.append(-value)
        event = wire.Publish(f"/{self._name}/event", wire.SignalType.EVENT, value)
        client.send(wire.Bundle((event,)), 2)
        await client.answer(wire.Ack)
        said[-1] = value

    async def _param(self, client: Client) -> None:
        value = self._value()
        anybody = f"/{self._chance.choice(self._names)}/open"
        prefix = self._chance.choice([f"/{self._name}", f"/{self._name}", "/sh", anybody])
        self._address = address = f"{prefix}/x{self._chance.randrange(ADDRESSES)}"
        kind = self._chance.random()
        told: object = value
        ttl = NEVER
        if kind > 0.85:
            told, ttl = None, OVER
        elif kind > 0.75 and "/open/" in address:
            ttl = wire.Ttl(wire.TtlMode.ABSOLUTE, 1)
        answer = await client.write(wire.Set(address, told, ttl=ttl))  # type: ignore[arg-type]
        if isinstance(answer, wire.Ack):
            self._told.own[address] = told
            self._told.uncertain.discard(address)
        else:
            self._told.uncertain.add(address)

    async def _decided(self, client: Client) -> None:
        """What a referee has a word in: a lock, an expected revision, a strategy. May be refused."""
        value = self._value()
        kind = self._chance.choice(["lock", "lock", "revision", *STRATEGIES])
        told: object = value
        write = wire.Set(f"/sh/{kind}", value, ttl=NEVER)
        if kind == "lock":
            write.address += str(self._chance.randrange(2))
            if self._locked:
                write.address = self._locked
                write.unlock = self._chance.random() < 0.5
            else:
                write.lock = True
        elif kind == "revision":
            write.revision = self._revisions.get(write.address)
        elif kind == "merge":
            told = {self._name: value}
        write.value = told  # type: ignore[assignment]
        answer = await client.write(write)
        if isinstance(answer, wire.Ack):
            if write.lock:
                self._locked = write.address
            elif write.unlock:
                self._locked = ""
            self._revisions[write.address] = answer.revision or 0
        else:
            self._revisions.pop(write.address, None)
            if self._locked == write.address:
                self._locked = ""  # the referee has said no

    async def _mqtt(self, mqtt: MqttWriter) -> None:
        """A retained message, or the end of one."""
        topic = f"{self._chance.choice([self._name, 'all'])}/t{self._chance.randrange(ADDRESSES)}"
        payload = b"" if self._chance.random() < 0.4 else str(self._value()).encode()
        await mqtt.publish(topic, payload)
