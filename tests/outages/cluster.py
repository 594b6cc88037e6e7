"""Hubs on a cluster of MQTT brokers (three NATS servers with JetStream): nodes killed, stopped and frozen under load.

What must hold: every event that a hub has acknowledged is in the journal of each hub, once, and each sender's in
order; params that all of them write end equal everywhere; what is said after the loss of a node is everywhere within
FAIL_OVER_S, where the cluster itself is.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from outages.agreement import out_of_order, twice, where_different
from outages.network import Client, Router
from support.nats_cluster import NatsCluster, Node
from support.ports import HOST

from clasp_edge import wire

PARAMS = 4
PEACE_S = 60.0
UP_S = 60.0
QUIET_S = 1.0
BRIDGE = "/clasp-edge/bridges/site/"
"""Where a hub says how its bridge is doing."""


def bridge(name: str, nodes: list[Node], keep_alive_s: int = 10) -> str:
    """The tables of a hub's bridge to a cluster; the nodes are tried in this order."""
    brokers = ", ".join(f'"mqtt://{HOST}:{node.mqtt}"' for node in nodes)
    return (
        f'[bridge.site]\nbrokers = [{brokers}]\nclient_id = "{name}"\nkeep_alive_s = {keep_alive_s}\n'
        '[[bridge.site.map]]\ntopic = "ev/#"\naddress = "/ev/**"\npolicy = "log"\nretain = false\npayload = "clasp"\n'
        '[[bridge.site.map]]\ntopic = "st/#"\naddress = "/st/**"\npayload = "clasp"\n'
    )


@dataclass
class ClusterHistory:
    """One of them. `cuts` has, of each fault, after how many seconds what was said then had reached all hubs."""

    root: Path
    seed: int = 1
    hubs: int = 2
    faults: Counter[str] = field(default_factory=Counter)
    cuts: list[float] = field(default_factory=list)
    events: dict[str, list[int]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._over = False
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._probe = 0

    async def run(self, faults: int) -> None:
        """All of it: so many faults, one after the other."""
        with contextlib.ExitStack() as stack:
            cluster = NatsCluster(self.root)
            stack.callback(cluster.end)
            await asyncio.to_thread(cluster.start)
            self.cluster = cluster
            names = [f"h{number + 1}" for number in range(self.hubs)]
            self.routers = {name: Router(name, self.root, "group") for name in names}
            for at, (name, router) in enumerate(self.routers.items()):
                nodes = cluster.nodes[at % 3 :] + cluster.nodes[: at % 3]
                router.uplink = bridge(name, nodes)
            try:
                await asyncio.gather(*(router.start() for router in self.routers.values()))
                await self.up()
                writers = [asyncio.ensure_future(self._write(name)) for name in names]
                await self._reached()
                for _ in range(faults):
                    await self._fault()
                self._over = True
                await asyncio.gather(*writers)
                await self._agree()
                said = await self._bridges()
                for router in self.routers.values():
                    await router.end(signal.SIGTERM)
                await asyncio.to_thread(self._look_at_events)
                if self.broken:
                    self.broken += said
            except TimeoutError:
                self.broken += await self._bridges()
                self.broken += await asyncio.to_thread(self.cluster.out_of_step)
                raise
            finally:
                for router in self.routers.values():
                    await router.end()

    async def params(self, name: str) -> dict[str, object]:
        """Of a hub; empty where it does not answer."""
        with contextlib.suppress(OSError, TimeoutError):
            client = await Client(self.routers[name].tcp).open()
            try:
                return await client.params(everything=True)
            finally:
                client.close()
        return {}

    async def _bridges(self) -> list[str]:
        """What each says about itself: whether a fault is theirs or the cluster's."""
        found = []
        for name in self.routers:
            said = {key: value for key, value in (await self.params(name)).items() if key.startswith(BRIDGE)}
            told = ", ".join(f"{key.removeprefix(BRIDGE)} {value}" for key, value in sorted(said.items()))
            found.append(f"bridge of {name}: {told or 'no answer'}")
        return found

    async def up(self) -> None:
        """Until all bridges are. Raises TimeoutError."""
        until_s = time.monotonic() + UP_S
        for name in self.routers:
            while (await self.params(name)).get(f"{BRIDGE}state") != "up":
                if time.monotonic() > until_s:
                    raise TimeoutError(f"the bridge of {name} was not up within {UP_S:g} s")
                await asyncio.sleep(0.1)

    # ---- clients ----

    async def _write(self, name: str) -> None:
        """Events of its own and params of everybody's, each acknowledged."""
        chance = random.Random(f"{self.seed} {name}")
        said = self.events.setdefault(name, [])
        client = await Client(self.routers[name].tcp).open()
        number = 0
        try:
            while not self._over:
                await self._may_write.wait()
                number += 1
                event = wire.Publish(f"/ev/{name}", wire.SignalType.EVENT, number)
                said.append(-number)
                client.send(wire.Bundle((event,)), 2)
                await client.answer(wire.Ack, within_s=30.0)
                said[-1] = number
                address = f"/st/x{chance.randrange(PARAMS)}"
                client.send(wire.Set(address, number, ttl=wire.Ttl(wire.TtlMode.NEVER)))
                await client.answer(wire.Ack, within_s=30.0)
                await asyncio.sleep(chance.uniform(0, 0.02))
        finally:
            client.close()

    # ---- faults ----

    async def _fault(self) -> None:
        leader = await asyncio.to_thread(self.cluster.wait_for_leader)
        node = self._random.choice(self.cluster.nodes)
        kind = self._random.choice(["killed", "killed", "stopped", "frozen"])
        await self.fault(node, kind)
        self.faults[f"{'leader' if node is leader else 'node'} {kind}"] += 1

    async def fault(self, node: Node, kind: str) -> None:
        """One node; until all hubs hear of one another again, and it is back."""
        if kind == "frozen":
            node.freeze(True)
        else:
            await asyncio.to_thread(node.end, signal.SIGKILL if kind == "killed" else signal.SIGTERM)
        began_s = time.monotonic()
        await self._reached()
        self.cuts.append(time.monotonic() - began_s)
        await asyncio.sleep(self._random.uniform(0.0, 1.0))
        if kind == "frozen":
            node.freeze(False)
        else:
            node.start()
        await asyncio.to_thread(self.cluster.wait_for_leader)
        await self._caught_up()

    async def _reached(self) -> None:
        """Until a param and an event that each hub says now are at all others."""
        self._probe += 1
        clients = {name: await Client(router.tcp).open() for name, router in self.routers.items()}
        try:
            for name, client in clients.items():
                for number, address in enumerate((f"/st/probe/{name}", f"/ev/probe/{name}")):
                    client.send(wire.Subscribe(number + 1, address.rpartition("/")[0] + "/*"))
                client.send(wire.Get("/st/probe/none"))
                await client.answer(wire.Snapshot, wire.Error)
            for name, client in clients.items():
                client.send(wire.Set(f"/st/probe/{name}", self._probe, ttl=wire.Ttl(wire.TtlMode.NEVER)))
                client.send(wire.Publish(f"/ev/probe/{name}", wire.SignalType.EVENT, self._probe))
            missing = {name: self._said_by_others(name) for name in clients}
            try:
                async with asyncio.timeout(PEACE_S):
                    await asyncio.gather(*(self._hears(client, missing[name]) for name, client in clients.items()))
            except TimeoutError:
                self.broken += [f"{name} has not heard {', '.join(sorted(of))}" for name, of in missing.items() if of]
                raise TimeoutError(f"what was said after a fault was not everywhere within {PEACE_S:g} s") from None
        finally:
            for client in clients.values():
                client.close()

    def _said_by_others(self, own: str) -> set[str]:
        return {f"/{kind}/probe/{name}" for name in self.routers for kind in ("st", "ev") if name != own}

    async def _hears(self, client: Client, wanted: set[str]) -> None:
        while wanted:
            found = await client.answer(wire.Set, wire.Publish, within_s=PEACE_S)
            assert isinstance(found, wire.Set | wire.Publish)
            if found.value == self._probe:
                wanted.discard(found.address)

    async def _caught_up(self) -> None:
        """Until the node has the streams as the others have: to lose another one before that is to lose a majority.
        Nothing new is written meanwhile, else a busy cluster may never be found so."""
        until_s = time.monotonic() + PEACE_S
        self._may_write.clear()
        while not await asyncio.to_thread(self.cluster.in_step):
            if time.monotonic() > until_s:
                raise TimeoutError(f"the cluster was not in step within {PEACE_S:g} s")
            await asyncio.sleep(0.1)
        self._may_write.set()

    # ---- what must hold ----

    async def _agree(self) -> None:
        until_s = time.monotonic() + PEACE_S
        while True:
            states = {}
            waiting = 0
            for name in self.routers:
                params = await self.params(name)
                waiting += int(str(params.get(f"{BRIDGE}queued", 1)))
                states[name] = {address: value for address, value in params.items() if address.startswith("/st/")}
            differing = where_different(states)
            if (not differing and not waiting) or time.monotonic() > until_s:
                break
            await asyncio.sleep(0.2)
        self.broken += [f"{address} differs: {values}" for address, values in sorted(differing.items())[:5]]
        if waiting:
            self.broken.append(f"{waiting} messages wait at bridges")
        # What has been acknowledged by a node is on its way to the others.
        await self._reached()
        await asyncio.sleep(QUIET_S)

    def _look_at_events(self) -> None:
        for at, router in self.routers.items():
            recorded = router.events()
            for name, events in self.events.items():
                found = recorded.get(f"/ev/{name}", [])
                safe = {number for number in events if number > 0}
                numbers = {number for number in found if isinstance(number, int)}
                if again := twice(found):
                    self.broken.append(f"events of {name} twice in the journal of {at}: {again[:5]}")
                if back := out_of_order(found):
                    self.broken.append(f"events of {name} out of order in the journal of {at}: {back[:5]}")
                if missing := sorted(safe - numbers):
                    self.broken.append(f"{len(missing)} events of {name} missing at {at}: {missing[:5]}")


def run_cluster(first: int, count: int, faults: int) -> int:
    """So many histories, from this seed on; 1 if a promise was broken."""
    cuts: list[float] = []
    broken = 0
    total: Counter[str] = Counter()
    for seed in range(first, first + count):
        root = Path(tempfile.mkdtemp(prefix=f"cluster-{seed}-"))
        history = ClusterHistory(root, seed, 2 + seed % 2)
        try:
            asyncio.run(history.run(faults))
        except (RuntimeError, OSError, TimeoutError, AssertionError) as error:
            history.broken.append(f"{type(error).__name__}: {error}")
        events = sum(map(len, history.events.values()))
        print(
            f"seed {seed}: cluster, {history.hubs} hubs, {sum(history.faults.values())} faults, {events} events, "
            f"cut {max(history.cuts, default=0):.2f} s",
            flush=True,
        )
        for text in history.broken:
            print(f"  BROKEN {text} ({root})", flush=True)
        if not history.broken:
            shutil.rmtree(root, ignore_errors=True)
        cuts += history.cuts
        total += history.faults
        broken += bool(history.broken)
    cuts.sort()
    middle = f"{cuts[len(cuts) // 2]:.2f}" if cuts else "-"
    print(f"{count} histories, {broken} broken, cut {middle} s (middle), {max(cuts, default=0):.2f} s, {dict(total)}")
    return 1 if broken else 0
