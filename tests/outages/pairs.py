"""Random histories of a pair of hubs and the boxes below it: either hub killed, stopped, frozen, cut off, again and
again under load, and in the end perhaps for ever, all from one seed.

What must hold, in the journals of all routers that are left: every event that was acknowledged, by a box or (in
`strict` mode) by a hub, is there, once, and each sender's in order; the params are the same. After the loss of a hub
what is said next reaches everybody within CUT_S.
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
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from outages.agreement import out_of_order, state_of, twice, where_different
from outages.network import Client, Link, Router

from clasp_edge import wire

HUBS = ("h1", "h2")
PEACE_S = 90.0
SETTLED_S = 2.0
ADDRESSES = 4
DEAD_AFTER_MS = 800
IN_STEP_S = 120.0


@dataclass
class PairHistory:
    """One of them. `broken` lists what did not hold; `cuts` has, of each loss of a hub, how many seconds passed until
    what was said afterwards at a box had reached all others."""

    seed: int
    root: Path
    seconds: float
    boxes: int = 6
    mode: str = ""
    lost: str = ""
    faults: Counter[str] = field(default_factory=Counter)
    writes: int = 0
    agreed_after_s: float = 0.0
    cuts: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self.mode = self._random.choice(["group", "strict"])
        names = [*HUBS, *(f"b{number + 1}" for number in range(self.boxes))]
        self.routers = {name: Router(name, self.root, self.mode) for name in names}
        self.links: dict[tuple[str, str], Link] = {}
        one_order = self._random.random() < 0.7
        for name in names:
            hubs = list(HUBS) if name in HUBS or one_order or self._random.random() < 0.5 else list(reversed(HUBS))
            for hub in hubs:
                if hub != name:
                    self.links[name, hub] = Link(self.routers[hub].ws)
            if name in HUBS:
                (other,) = (hub for hub in HUBS if hub != name)
                port = self.links[name, other].port
                self.routers[name].uplink = (
                    f'[federation]\nrouter_id = "{name}"\n[federation.pair]\nurl = "ws://127.0.0.1:{port}"\n'
                    f"dead_after_ms = {DEAD_AFTER_MS}\n"
                )
            else:
                urls = ", ".join(f'"ws://127.0.0.1:{self.links[name, hub].port}"' for hub in hubs)
                self.routers[name].uplink = (
                    f'[uplink.main]\nurl = [{urls}]\nowns = ["/{name}/**"]\nwants = ["/**"]\n'
                    f'dead_after_ms = {DEAD_AFTER_MS}\n[federation]\nrouter_id = "{name}"\n'
                )
        self._over = asyncio.Event()
        self._gone: set[str] = set()
        self._events: dict[str, list[int]] = {name: [] for name in names}  # negative: not acknowledged
        self._uncertain = 0

    async def run(self) -> None:
        """All of it."""
        for link in self.links.values():
            await link.listen()
        await asyncio.gather(*(router.start() for router in self.routers.values()))
        try:
            await self._in_step()
            await self._linked()
            writers = [asyncio.ensure_future(self._write(name)) for name in self.routers]
            await asyncio.sleep(1.0)
            until_s = time.monotonic() + self.seconds
            while time.monotonic() < until_s:
                await self._fault()
                await asyncio.sleep(self._random.uniform(0.1, 1.5))
            await self._heal()
            if self._random.random() < 0.7:
                await self._in_step()
                await asyncio.sleep(self._random.uniform(0.0, 1.0))
                await self._lose()
            self._over.set()
            await asyncio.gather(*writers)
            await self._agree()
            for router in self._left().values():
                await router.end(signal.SIGTERM)
            await asyncio.to_thread(self._look_at_events)
        finally:
            for router in self.routers.values():
                await router.end()
            for link in self.links.values():
                link.refuse()

    def _left(self) -> dict[str, Router]:
        return {name: router for name, router in self.routers.items() if name not in self._gone}

    async def _param(self, router: Router, address: str) -> object:
        with contextlib.suppress(OSError, TimeoutError):
            client = await Client(router.tcp).open()
            try:
                return (await client.params(everything=True)).get(address)
            finally:
                client.close()
        return None

    async def _in_step(self) -> None:
        """Until both hubs say so."""
        until_s = time.monotonic() + IN_STEP_S
        for name in HUBS:
            while await self._param(self.routers[name], "/clasp-edge/pair/state") != "in step":
                if time.monotonic() > until_s:
                    raise TimeoutError(f"the pair was not in step within {IN_STEP_S:g} s")
                await asyncio.sleep(0.1)

    async def _linked(self) -> None:
        for name, router in self._left().items():
            if name in HUBS:
                continue
            until_s = time.monotonic() + IN_STEP_S
            while await self._param(router, "/clasp-edge/uplinks/main/state") != "up":
                if time.monotonic() > until_s:
                    raise TimeoutError(f"{name} was not up within {IN_STEP_S:g} s")
                await asyncio.sleep(0.1)

    # ---- clients ----

    async def _write(self, name: str) -> None:
        chance = random.Random(f"{self.seed} {name}")
        number = 0
        while not self._over.is_set() and name not in self._gone:
            try:
                client = await Client(self.routers[name].tcp).open()
            except (OSError, TimeoutError):
                await asyncio.sleep(0.1)
                continue
            try:
                while not self._over.is_set():
                    number += 1
                    if chance.random() < 0.5:
                        self._events[name].append(-number)
                        event = wire.Publish(f"/{name}/event", wire.SignalType.EVENT, number)
                        client.send(wire.Bundle((event,)), 2)
                        await client.answer(wire.Ack)
                        self._events[name][-1] = number
                    else:
                        prefix = chance.choice([f"/{name}", "/shared"])
                        address = f"{prefix}/x{chance.randrange(ADDRESSES)}"
                        client.send(wire.Set(address, number, ttl=wire.Ttl(wire.TtlMode.NEVER)))
                        await client.answer(wire.Ack)
                    self.writes += 1
                    await asyncio.sleep(chance.uniform(0, 0.04))
            except (OSError, TimeoutError):
                pass
            finally:
                client.close()

    # ---- faults ----

    async def _fault(self) -> None:
        kinds: list[Callable[[], Awaitable[str]]] = [
            self._kill, self._kill, self._freeze, self._stop, self._divide, self._divide, self._cut, self._kill_box,
        ]  # fmt: skip
        self.faults[await self._random.choice(kinds)()] += 1

    def _hub(self) -> Router:
        return self.routers[self._random.choice(HUBS)]

    async def _kill(self) -> str:
        hub = self._hub()
        await hub.end()
        await asyncio.sleep(self._random.uniform(0, 3.0))
        await hub.start()
        return "hub killed"

    async def _stop(self) -> str:
        hub = self._hub()
        await hub.end(signal.SIGTERM)
        await asyncio.sleep(self._random.uniform(0, 2.0))
        await hub.start()
        return "hub stopped"

    async def _freeze(self) -> str:
        hub = self._hub()
        hub.freeze(True)
        await asyncio.sleep(self._random.uniform(0.2, 3.5))
        hub.freeze(False)
        return "hub frozen"

    async def _divide(self) -> str:
        """The hubs do not hear of each other, and some boxes are at one, some at the other."""
        between = [self.links["h1", "h2"], self.links["h2", "h1"]]
        how = self._random.choice(["refuse", "swallow"])
        for link in between:
            getattr(link, how)()
        moved = [self.links[name, "h1"] for name in self.routers if name not in HUBS and self._random.random() < 0.5]
        for link in moved:
            link.refuse()
        await asyncio.sleep(self._random.uniform(0.5, 4.0))
        for link in between + moved:
            await link.listen()
        return "hubs divided"

    async def _cut(self) -> str:
        link = self._random.choice([link for (name, _), link in self.links.items() if name not in HUBS])
        link.refuse()
        await asyncio.sleep(self._random.uniform(0.2, 2.0))
        await link.listen()
        return "box cut off"

    async def _kill_box(self) -> str:
        box = self.routers[self._random.choice([name for name in self.routers if name not in HUBS])]
        await box.end()
        await asyncio.sleep(self._random.uniform(0, 1.0))
        await box.start()
        return "box killed"

    async def _heal(self) -> None:
        for link in self.links.values():
            await link.listen()

    async def _lose(self) -> None:
        """One of the hubs dies and never comes back."""
        self.lost = self._random.choice(HUBS)
        before = {name: len(events) for name, events in self._events.items()}
        await self.routers[self.lost].end()
        self._gone.add(self.lost)
        await self._measure(before)

    async def _measure(self, before: dict[str, int]) -> None:
        began_s = time.monotonic()
        probe = f"b{self.boxes}"
        listener = await Client(self.routers[probe].tcp).open()
        client = await Client(self.routers["b1"].tcp).open()
        try:
            listener.send(wire.Subscribe(1, "/b1/probe"))
            await asyncio.sleep(0)
            number = 0
            while time.monotonic() - began_s < 60:
                number += 1
                client.send(wire.Publish("/b1/probe", wire.SignalType.EVENT, number), 0)
                with contextlib.suppress(TimeoutError):
                    await listener.answer(wire.Publish, within_s=0.02)
                    self.cuts.append(time.monotonic() - began_s)
                    return
            self.broken.append(f"nothing got from b1 to {probe} within 60 s after {self.lost} was lost")
        finally:
            listener.close()
            client.close()

    # ---- what must hold ----

    async def _agree(self) -> None:
        began_s = time.monotonic()
        while True:
            states = {name: await state_of(router) for name, router in self._left().items()}
            differing = where_different(states)
            if not differing or time.monotonic() - began_s > PEACE_S:
                break
            await asyncio.sleep(0.3)
        self.agreed_after_s = time.monotonic() - began_s
        if not self._gone:
            await self._in_step()
        await self._linked()
        await self._quiet()
        await asyncio.sleep(SETTLED_S)
        self.broken += [f"{address} differs: {values}" for address, values in sorted(differing.items())[:5]]

    async def _quiet(self) -> None:
        """Until no box has anything waiting."""
        until_s = time.monotonic() + PEACE_S
        for name, router in self._left().items():
            while name not in HUBS and await self._param(router, "/clasp-edge/uplinks/main/queue") != 0:
                if time.monotonic() > until_s:
                    self.broken.append(f"{name} has a queue that does not go")
                    return
                await asyncio.sleep(0.2)

    def _look_at_events(self) -> None:
        for at, router in self._left().items():
            recorded = router.events()
            for name, events in self._events.items():
                told = {abs(number) for number in events}
                # What a box acknowledges is in its journal after its next commit (or at once, in `strict`).
                safe = {number for number in events if number > 0}
                if self.mode == "group" and (name in HUBS or self.faults["box killed"]):
                    safe = set()
                found = recorded.get(f"/{name}/event", [])
                if again := twice(found):
                    self.broken.append(f"events of {name} twice in the journal of {at}: {again[:5]}")
                numbers = [number for number in found if isinstance(number, int)]
                if back := out_of_order(found):
                    self.broken.append(f"events of {name} out of order in the journal of {at}: {back[:5]}")
                strange = [number for number in numbers if number not in told]
                if strange:
                    self.broken.append(f"events of {name} in the journal of {at} that nobody has said: {strange[:5]}")
                missing = sorted(safe - set(numbers))
                if missing:
                    self.broken.append(f"{len(missing)} events of {name} missing at {at}: {missing[:5]}")


async def perform(seed: int, seconds: float) -> PairHistory:
    """One history, from start to end. What routers of a broken one have written is left where it is."""
    root = Path(tempfile.mkdtemp(prefix=f"pair-{seed}-"))
    history = PairHistory(seed, root, seconds)
    try:
        await history.run()
    except (RuntimeError, OSError, TimeoutError, AssertionError) as error:
        history.broken.append(f"{type(error).__name__}: {error}")
    if not history.broken:
        shutil.rmtree(root, ignore_errors=True)
    return history


def run_pairs(first: int, count: int, seconds: float) -> int:
    """So many, from this seed on; 1 if a promise was broken."""
    faults: Counter[str] = Counter()
    cuts: list[float] = []
    writes = broken = 0
    for seed in range(first, first + count):
        history = asyncio.run(perform(seed, seconds))
        faults += history.faults
        writes += history.writes
        cuts += history.cuts
        print(
            f"seed {seed}: pair, {history.mode}, {sum(history.faults.values())} faults, {history.writes} writes, "
            f"lost for ever: {history.lost or 'none'}, cut {max(history.cuts, default=0):.2f} s, "
            f"agreed after {history.agreed_after_s:.1f} s",
            flush=True,
        )
        for text in history.broken:
            print(f"  BROKEN {text} ({history.root})", flush=True)
        broken += bool(history.broken)
    longest = f"{max(cuts, default=0):.2f} s"
    print(f"{count} histories, {broken} broken, {writes} writes, longest cut {longest}, faults: {dict(faults)}")
    return 1 if broken else 0
