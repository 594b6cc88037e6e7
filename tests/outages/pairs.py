"""Random histories of a pair of hubs and the boxes below it: either hub killed, stopped, frozen, cut off, put back to a
backup or to nothing, both killed at once, clocks set, again and again under load, and in the end perhaps one of them
lost for ever, with a box that was away during much of it; all from one seed.

What must hold, in the journals of all routers that are left: every event that was acknowledged, by a box or (in
`strict` mode) by a hub, is there, and what a hub that is left or its sender has; once, and each sender's in order; the
params are the same. What a hub in mode `group` has confirmed and the other one has is there too.
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

from outages.agreement import lacking, out_of_order, state_of, twice, where_different
from outages.network import Client, Link, Router

from clasp_edge import wire

HUBS = ("h1", "h2")
PEACE_S = 90.0
SETTLED_S = 2.0
ADDRESSES = 4
DEAD_AFTER_MS = 800
IN_STEP_S = 120.0
SLOW_COMMIT_MS = 2000
SHIFTS_S = (-3600, -30, -1, 1, 30, 3600)

PAIR = "/clasp-edge/pair/"
ALONE = "pair: ALONE"
"""What a hub's log says of that."""


@dataclass
class PairHistory:
    """One of them. `broken` lists what did not hold; `cuts` has, of each loss of a hub, how many seconds passed until
    what was said afterwards at a box had reached all others."""

    seed: int
    root: Path
    seconds: float
    boxes: int = 6
    mode: str = ""
    alone: str = ""
    lost: str = ""
    away: str = ""
    """A box that is off until the end."""
    faults: Counter[str] = field(default_factory=Counter)
    writes: int = 0
    agreed_after_s: float = 0.0
    cuts: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self.mode = self._random.choice(["group", "strict"])
        self.alone = self._random.choice(["go on", "go on", "wait"])
        names = [*HUBS, *(f"b{number + 1}" for number in range(self.boxes))]
        self.routers = {name: Router(name, self.root, self.mode) for name in names}
        self.links: dict[tuple[str, str], Link] = {}
        if self.mode == "group" and self._random.random() < 0.5:
            self.routers[self._random.choice(HUBS)].journal = f"commit_interval_ms = {SLOW_COMMIT_MS}\n"
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
                    f'dead_after_ms = {DEAD_AFTER_MS}\nalone = "{self.alone}"\n'
                )
            else:
                urls = ", ".join(f'"ws://127.0.0.1:{self.links[name, hub].port}"' for hub in hubs)
                self.routers[name].uplink = (
                    f'[uplink.main]\nurl = [{urls}]\nowns = ["/{name}/**"]\nwants = ["/**"]\n'
                    f'dead_after_ms = {DEAD_AFTER_MS}\n[federation]\nrouter_id = "{name}"\n'
                )
        self._over = asyncio.Event()
        self._gone: set[str] = set()
        # By address, of each sender; negative: not acknowledged.
        self._events: dict[str, list[int]] = {f"/{name}/event": [] for name in names}
        self._events |= {f"/{name}/said": [] for name in HUBS}
        self._sure: dict[str, set[int]] = {address: set() for address in self._events}
        self._backups: dict[str, Path] = {}
        self._killed: set[str] = set()
        self._set_back: set[str] = set()  # killed in `group`, or put back: what its clients had said comes back late
        self._replaced: set[str] = set()
        self._leaves_after = self._random.randrange(3) if self._random.random() < 0.6 else -1

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
                if sum(self.faults.values()) == self._leaves_after and not self.away:
                    await self._leave()
                await self._fault()
                await asyncio.sleep(self._random.uniform(0.1, 1.5))
            await self._heal()
            if self._random.random() < 0.75:
                await self._lose()
            if self.away:
                # A board without a clock of its own begins where it was, or anywhere.
                self.routers[self.away].clock.shift(self._random.choice([0, 0, *SHIFTS_S]))
                await self.routers[self.away].start()
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

    async def _own_params(self, router: Router) -> dict[str, object]:
        """Those in which a router says how it is; none where it does not answer."""
        with contextlib.suppress(OSError, TimeoutError):
            client = await Client(router.tcp).open()
            try:
                return await client.params(everything=True)
            finally:
                client.close()
        return {}

    async def _until(self, router: Router, address: str, wanted: object, within_s: float) -> bool:
        until_s = time.monotonic() + within_s
        while (await self._own_params(router)).get(address) != wanted:
            if time.monotonic() > until_s:
                return False
            await asyncio.sleep(0.1)
        return True

    async def _in_step(self) -> None:
        """Until both hubs say so."""
        for name in HUBS:
            if not await self._until(self.routers[name], f"{PAIR}state", "in step", IN_STEP_S):
                raise TimeoutError(f"the pair was not in step within {IN_STEP_S:g} s")

    async def _linked(self) -> None:
        for name, router in self._left().items():
            if name not in HUBS and not await self._until(router, "/clasp-edge/uplinks/main/state", "up", IN_STEP_S):
                raise TimeoutError(f"{name} was not up within {IN_STEP_S:g} s")

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
                        await self._say(client, f"/{name}/event", number)
                    else:
                        prefix = chance.choice([f"/{name}", "/shared"])
                        address = f"{prefix}/x{chance.randrange(ADDRESSES)}"
                        client.send(wire.Set(address, number, ttl=wire.Ttl(wire.TtlMode.NEVER)))
                        await client.answer(wire.Ack)
                    self.writes += 1
                    await asyncio.sleep(chance.uniform(0, 0.08))
            except (OSError, TimeoutError):
                pass
            finally:
                client.close()

    async def _say(self, client: Client, address: str, number: int) -> None:
        """An event, until it is acknowledged. Raises TimeoutError."""
        said = self._events[address]
        said.append(-number)
        client.send(wire.Bundle((wire.Publish(address, wire.SignalType.EVENT, number),)), 2)
        await client.answer(wire.Ack)
        said[-1] = number

    # ---- faults ----

    async def _fault(self) -> None:
        kinds: list[Callable[[], Awaitable[str]]] = [
            self._kill, self._kill, self._freeze, self._stop, self._divide, self._divide, self._cut, self._kill_box,
            self._kill_both, self._kill_confirmed, self._kill_confirmed, self._back_up, self._put_back, self._replace,
            self._shift,
        ]  # fmt: skip
        self.faults[await self._random.choice(kinds)()] += 1

    def _hub(self) -> Router:
        return self.routers[self._random.choice(HUBS)]

    async def _kill(self) -> str:
        hub = self._hub()
        await hub.end()
        self._not_stored(hub.name)
        await asyncio.sleep(self._random.uniform(0, 3.0))
        await hub.start()
        return "hub killed"

    def _not_stored(self, name: str) -> None:
        """A hub was killed."""
        if self.mode == "group":
            self._set_back.add(name)

    async def _kill_both(self) -> str:
        await asyncio.gather(*(self.routers[name].end() for name in HUBS))
        for name in self._random.sample(HUBS, 2):
            self._not_stored(name)
            await asyncio.sleep(self._random.uniform(0, 1.5))
            await self.routers[name].start()
        return "both hubs killed"

    async def _kill_confirmed(self, hub: Router | None = None) -> str:
        """Right after it has confirmed something to a client, and perhaps again while it catches up. What the other one
        has by then must come through."""
        hub = hub or self._hub()
        await self._in_step()
        address = f"/{hub.name}/said"
        said = self._events[address]
        with contextlib.suppress(OSError, TimeoutError):
            client = await Client(hub.tcp).open()
            try:
                for _ in range(self._random.randrange(1, 5)):
                    await self._say(client, address, len(said) + 1)
            finally:
                client.close()
        await hub.end()
        self._not_stored(hub.name)
        if self.mode == "group":
            other = await Client(self._other(hub.name).tcp).open()
            try:
                self._sure[address].update(int(str(value)) for value in await other.replay(address))
            finally:
                other.close()
        for _ in range(self._random.choice([0, 0, 1])):
            await hub.start()
            await asyncio.sleep(self._random.uniform(0, 1.0))
            await hub.end()
        await hub.start()
        await self._in_step()
        return "hub killed after a confirmation"

    async def _end_in_step(self, hub: Router) -> None:
        """Kill a hub while the other one has all that it has confirmed, so that what it has stored may be lost."""
        moment_s = self._random.uniform(0, 1.0)
        while True:
            await self._in_step()
            alone = hub.logged(ALONE)
            before = await self._own_params(hub)
            await asyncio.sleep(moment_s)
            after = await self._own_params(hub)
            await hub.end()
            same = before.get(f"{PAIR}since") == after.get(f"{PAIR}since")
            if same and after.get(f"{PAIR}state") == "in step" and hub.logged(ALONE) == alone:
                return
            self._not_stored(hub.name)
            await hub.start()

    async def _back_up(self) -> str:
        """While it runs."""
        hub = self._hub()
        self._backups[hub.name] = hub.back_up()
        return "hub backed up"

    async def _put_back(self, hub: Router | None = None) -> str:
        hub = hub or self._hub()
        if hub.name not in self._backups:
            self._backups[hub.name] = hub.back_up()
        await self._again_from(hub, self._backups[hub.name])
        return "backup put back"

    async def _replace(self, hub: Router | None = None) -> str:
        """By an empty machine; the same hub, if that happens twice, and not while a box is away, which it may not know
        any more."""
        hub = hub or self._hub()
        if self._replaced and (self.away or hub.name not in self._replaced):
            return await self._back_up()
        self._replaced.add(hub.name)
        self._backups.pop(hub.name, None)
        await self._again_from(hub, None)
        return "hub replaced"

    async def _again_from(self, hub: Router, backup: Path | None) -> None:
        await self._end_in_step(hub)
        self._set_back.add(hub.name)
        hub.put_back(backup)
        await hub.start()
        for _ in range(self._random.choice([0, 0, 1])):
            await asyncio.sleep(self._random.uniform(0, 1.0))
            await hub.end()
            await hub.start()
        await self._in_step()

    def _other(self, name: str) -> Router:
        (other,) = (self.routers[hub] for hub in HUBS if hub != name)
        return other

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
        box = self.routers[self._random.choice([name for name in self.routers if name not in (*HUBS, self.away)])]
        await box.end()
        self._killed.add(box.name)
        await asyncio.sleep(self._random.uniform(0, 1.0))
        await box.start()
        return "box killed"

    async def _shift(self) -> str:
        self.routers[self._random.choice(list(self.routers))].clock.shift(self._random.choice(SHIFTS_S))
        return "clock set"

    async def _heal(self) -> None:
        for link in self.links.values():
            await link.listen()

    async def _leave(self) -> None:
        """A box goes off, or is killed; not the first or the last one, which tell how long a loss is felt."""
        self.away = f"b{self._random.randrange(2, self.boxes)}"
        how = self._random.choice([signal.SIGTERM, signal.SIGKILL])
        if how is signal.SIGKILL:
            self._killed.add(self.away)
        await self.routers[self.away].end(how)

    async def _lose(self) -> None:
        """One of the hubs dies and never comes back, perhaps as soon as the other one has what it had lost itself."""
        lost = self._hub()
        if self.alone == "wait" and self._random.random() < 0.5:
            # Nothing is confirmed by one of them, so neither needs to be in step.
            await self._kill()
            await lost.end()
            await self._go_on_without(lost.name)
            return
        first = self._random.choice([None, self._kill_confirmed, self._kill_confirmed, self._put_back, self._replace])
        if first is not None:
            self.faults[await first(self._other(lost.name))] += 1
        await self._end_in_step(lost)
        await self._go_on_without(lost.name)

    async def _go_on_without(self, name: str) -> None:
        self.lost = name
        self._gone.add(name)
        await self._measure()

    async def _measure(self) -> None:
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
        """Until no box has anything waiting. Without the other hub nothing is confirmed where it is waited for."""
        if self.alone == "wait" and self.lost:
            return
        for name, router in self._left().items():
            if name not in HUBS and not await self._until(router, "/clasp-edge/uplinks/main/queue", 0, PEACE_S):
                self.broken.append(f"{name} has a queue that does not go")

    def _safe(self, address: str) -> set[int]:
        """Those that must be everywhere because of what was said about them."""
        name = address.split("/")[1]
        # What a box acknowledges is in its journal after its next commit (or at once, in `strict`).
        if self.mode == "strict" or not (name in HUBS or name in self._killed):
            return {number for number in self._events[address] if number > 0}
        return set(self._sure[address])

    def _look_at_events(self) -> None:
        journals = {name: router.events() for name, router in self._left().items()}
        for address, said in self._events.items():
            name = address.split("/")[1]
            found = {at: recorded.get(address, []) for at, recorded in journals.items()}
            wanted = self._safe(address)
            for at in {*HUBS, name} & set(found):
                wanted |= {number for number in found[at] if isinstance(number, int)}
            acknowledged = {number for number in said if number > 0}
            told = {abs(number) for number in said}
            for at, there in found.items():
                if again := twice(there):
                    self.broken.append(f"{address} twice in the journal of {at}: {again[:5]}")
                back = out_of_order([number for number in there if number in acknowledged])
                # What nobody waited for boxes bring to a new journal later.
                if back and at not in self._replaced and not (address.endswith("/event") and name in self._set_back):
                    self.broken.append(f"{address} out of order in the journal of {at}: {back[:5]}")
                strange = [number for number in there if number not in told]
                if strange:
                    self.broken.append(f"{address} in the journal of {at} that nobody has said: {strange[:5]}")
                # A killed box may lack what it had told and not stored.
                sought = self._safe(address) if at == name and name in self._killed else wanted
                if at not in self._replaced and (missing := lacking(there, sought)):
                    self.broken.append(f"{len(missing)} of {address} missing at {at}: {missing[:5]}")


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
            f"seed {seed}: pair, {history.mode}, alone: {history.alone}, {sum(history.faults.values())} faults, "
            f"{history.writes} writes, away: {history.away or 'none'}, lost for ever: {history.lost or 'none'}, "
            f"cut {max(history.cuts, default=0):.2f} s, agreed after {history.agreed_after_s:.1f} s",
            flush=True,
        )
        for text in history.broken:
            print(f"  BROKEN {text} ({history.root})", flush=True)
        broken += bool(history.broken)
    longest = f"{max(cuts, default=0):.2f} s"
    print(f"{count} histories, {broken} broken, {writes} writes, longest cut {longest}, faults: {dict(faults)}")
    return 1 if broken else 0
