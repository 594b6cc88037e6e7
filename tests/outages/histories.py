"""Random histories: routers that are linked in some way, clients that write, and faults, all from one seed; then peace.

After that, what must hold: every router has the same params; nobody who owns a param has lost what it has
acknowledged, where nobody else wrote it; no event is in a journal twice; in `strict` mode no acknowledged event is
missing where it was to arrive. A router that a backup was put back into may lack what it had, and is asked for less.
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
from outages.writers import STRATEGIES, Told, Writer

from clasp_edge import wire

PEACE_S = 15.0
"""After the last fault all routers must agree within this time."""

SETTLED_S = 3.0
"""After they do, for events that are still on their way."""

WRITABLE_S = 60.0
"""Within this time what a new client writes after that, at whatever router, stands everywhere."""

TOPOLOGIES: dict[str, dict[str, tuple[str, ...]]] = {
    "hub": {"h1": (), "b1": ("h1",), "b2": ("h1",), "b3": ("h1",)},
    "two hubs": {"h1": (), "h2": ("h1",), "b1": ("h1", "h2"), "b2": ("h2", "h1")},
    "chain": {"h2": (), "h1": ("h2",), "b1": ("h1",), "b2": ("h1",)},
    "ring": {"b1": ("b2",), "b2": ("b3",), "b3": ("b1",)},
}
"""Who has an uplink to whom; of several, the first that answers serves."""


@dataclass
class History:
    """One of them. `broken` lists what did not hold."""

    seed: int
    root: Path
    seconds: float
    only: str = ""
    topology: str = ""
    mode: str = ""
    faults: Counter[str] = field(default_factory=Counter)
    agreed_after_s: float = 0.0
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self.topology = self._random.choice([name for name in TOPOLOGIES if self.only in name])
        self.mode = self._random.choice(["group", "strict"])
        self._shape = TOPOLOGIES[self.topology]
        self.routers = {name: Router(name, self.root, self.mode) for name in self._shape}
        policy = 'policy = { "/sh/**" = "log" }\n' if self._random.random() < 0.3 else ""
        self.links: dict[tuple[str, str], Link] = {}
        for name, hubs in self._shape.items():
            for hub in hubs:
                self.links[name, hub] = Link(self.routers[hub].ws)
            if hubs:
                urls = ", ".join(f'"ws://127.0.0.1:{self.links[name, hub].port}"' for hub in hubs)
                owns = f'owns = ["/{name}/**", "/mqtt/{name}/**"]\n' if name.startswith("b") else ""
                self.routers[name].uplink = f'[uplink.main]\nurl = [{urls}]\n{owns}wants = ["/**"]\n{policy}'
        strategies = "".join(f'[[state.strategy]]\npattern = "/sh/{one}"\nstrategy = "{one}"\n' for one in STRATEGIES)
        everywhere = self._random.random() < 0.5  # else where it is decided
        for name, router in self.routers.items():
            decides = not self._shape[name] or self.topology == "ring"
            router.state = "lock_grace_s = 0.5\n" + (strategies if everywhere or decides else "")
        self._over = asyncio.Event()
        self._backups: dict[str, Path] = {}
        self._lossy: set[str] = set()  # killed in `group` mode, or put back: it may lack what it had
        self.told = Told(self.routers)

    async def run(self) -> None:
        """All of it."""
        for link in self.links.values():
            await link.listen()
        try:
            await asyncio.gather(*(router.start() for router in self.routers.values()))
            await self._linked()
            writers = [
                asyncio.ensure_future(Writer(router, list(self.routers), self.seed, self.told, self._over).run())
                for router in self.routers.values()
            ]
            await asyncio.sleep(1.0)
            until_s = time.monotonic() + self.seconds
            while time.monotonic() < until_s:
                await self._fault()
                await asyncio.sleep(self._random.uniform(0.1, 1.5))
            await self._heal()
            self._over.set()
            await asyncio.gather(*writers)
            await self._agree()
            await self._writable()
            for router in self.routers.values():
                await router.end(signal.SIGTERM)
            await asyncio.to_thread(self._look_at_events)
        finally:
            for router in self.routers.values():
                await router.end()
            for link in self.links.values():
                link.refuse()

    async def _linked(self) -> None:
        """Until every link has been up once: what a router says before that is not kept for those it has not seen."""
        for name, hubs in self._shape.items():
            for _ in range(100 if hubs else 0):
                with contextlib.suppress(OSError, TimeoutError):
                    client = await Client(self.routers[name].tcp).open()
                    params = await client.params(everything=True)
                    client.close()
                    if params.get("/clasp-edge/uplinks/main/state") == "up":
                        break
                await asyncio.sleep(0.3)

    # ---- faults ----

    async def _fault(self) -> None:
        kinds: list[Callable[[], Awaitable[str]]] = [
            self._cut, self._cut, self._swallow, self._flap, self._kill, self._stop, self._freeze, self._shift,
            self._back_up, self._put_back, self._copy_card,
        ]  # fmt: skip
        self.faults[await self._random.choice(kinds)()] += 1

    def _any(self) -> Router:
        return self.routers[self._random.choice(list(self.routers))]

    def _link(self) -> Link:
        return self._random.choice(list(self.links.values()))

    async def _cut(self) -> str:
        link = self._link()
        link.refuse()
        await asyncio.sleep(self._random.uniform(0.2, 2.5))
        await link.listen()
        return "cut"

    async def _swallow(self) -> str:
        link = self._link()
        link.swallow()
        await asyncio.sleep(self._random.uniform(0.5, 4))
        await link.listen()
        return "half-open"

    async def _flap(self) -> str:
        link = self._link()
        for _ in range(5):
            link.reset()
            await asyncio.sleep(self._random.uniform(0, 0.4))
        return "flapping"

    async def _kill(self) -> str:
        router = self._any()
        await router.end()
        if self.mode == "group":
            self._lossy.add(router.name)
        await asyncio.sleep(self._random.uniform(0, 1.5))
        await router.start()
        return "killed"

    async def _stop(self) -> str:
        router = self._any()
        await router.end(signal.SIGTERM)
        await asyncio.sleep(self._random.uniform(0, 1.5))
        await router.start()
        return "stopped"

    async def _freeze(self) -> str:
        router = self._any()
        router.freeze(True)
        await asyncio.sleep(self._random.uniform(0.2, 3.5))
        router.freeze(False)
        return "frozen"

    async def _shift(self) -> str:
        self._any().clock.shift(self._random.choice([-3600, -30, -1, 0, 1, 30, 3600]))
        return "clock set"

    async def _back_up(self) -> str:
        router = self._any()
        self._backups[router.name] = router.back_up()
        return "backed up"

    async def _put_back(self) -> str:
        if not self._backups:
            return await self._back_up()
        name = self._random.choice(list(self._backups))
        router = self.routers[name]
        await router.end()
        self._lossy.add(name)
        router.put_back(self._backups[name])
        await router.start()
        return "put back"

    async def _copy_card(self) -> str:
        """A router runs from a copy of its card for a while, then from the card that was copied."""
        router = self._any()
        await router.end()
        self._lossy.add(router.name)
        card = router.back_up()
        await router.start()
        await asyncio.sleep(self._random.uniform(0.5, 2.5))
        await router.end()
        router.put_back(card)
        await router.start()
        return "copied card"

    async def _heal(self) -> None:
        for link in self.links.values():
            await link.listen()
        for router in self.routers.values():
            router.freeze(False)

    # ---- what must hold ----

    async def _agree(self) -> None:
        began_s = time.monotonic()
        differing: dict[str, dict[str, object]] = {}
        while True:
            states = {name: await state_of(router) for name, router in self.routers.items()}
            differing = where_different(states)
            if not differing or time.monotonic() - began_s > PEACE_S:
                break
            await asyncio.sleep(0.3)
        self.agreed_after_s = time.monotonic() - began_s
        await self._linked()
        await asyncio.sleep(SETTLED_S)
        self.broken += [f"{address} differs: {values}" for address, values in sorted(differing.items())[:5]]
        for address, wanted in self.told.own.items():
            owner = address.split("/")[1]
            if "/open/" in address or owner == "sh" or owner in self._lossy or address in self.told.uncertain:
                continue
            if owner[0] != "b" or address in differing:
                continue  # a hub owns nothing
            found = states[owner].get(address)
            if found != wanted:
                self.broken.append(f"{address}: {owner} has acknowledged {wanted} and has {found}")

    async def _writable(self) -> None:
        """Nobody stands in anybody's way any more: a write at whatever router is accepted and stands everywhere."""
        for number, (name, router) in enumerate(self.routers.items()):
            address = f"/sh/lock{number % 2}"
            value = -1 - number
            until_s = time.monotonic() + WRITABLE_S
            states: dict[str, object] = {}
            while time.monotonic() < until_s:
                if await self._wrote(router, address, value):
                    states = {at: (await state_of(other)).get(address) for at, other in self.routers.items()}
                    if all(one == value for one in states.values()):
                        break
                await asyncio.sleep(0.3)
            else:
                self.broken.append(f"{address}: {value} written at {name} does not stand everywhere: {states}")

    async def _wrote(self, router: Router, address: str, value: int) -> bool:
        """Whether a new client was not refused."""
        with contextlib.suppress(OSError, TimeoutError):
            client = await Client(router.tcp).open()
            try:
                return isinstance(await client.write(wire.Set(address, value)), wire.Ack)
            finally:
                client.close()
        return False

    def _look_at_events(self) -> None:
        journals = {name: router.events() for name, router in self.routers.items()}
        for name in self.routers:
            told = {abs(value) for value in self.told.events[name]}
            acknowledged = {value for value in self.told.events[name] if value > 0}
            for at, events in journals.items():
                found = events.get(f"/{name}/event", [])
                if (again := twice(found)) and at not in self._lossy:
                    self.broken.append(f"events of {name} twice in the journal of {at}: {again[:5]}")
                # One whose answer its writer did not wait for may be read after what it says by its next connection.
                known = [value for value in found if value in acknowledged]
                if (back := out_of_order(known)) and not self._lossy:
                    self.broken.append(f"events of {name} out of order in the journal of {at}: {back[:5]}")
                strange = [value for value in found if value not in told]
                if strange:
                    self.broken.append(f"events of {name} in the journal of {at} that nobody has said: {strange[:5]}")
                if self._lossy or not acknowledged:
                    continue
                missing = sorted(acknowledged - set(found))  # type: ignore[arg-type]
                if missing:
                    self.broken.append(f"{len(missing)} events of {name} missing at {at}: {missing[:5]}")


async def perform(seed: int, seconds: float, only: str) -> History:
    """One history, from start to end. What routers of a broken one have written is left where it is."""
    root = Path(tempfile.mkdtemp(prefix=f"history-{seed}-"))
    history = History(seed, root, seconds, only)
    try:
        await history.run()
    except (RuntimeError, OSError, TimeoutError, AssertionError) as error:
        history.broken.append(f"{type(error).__name__}: {error}")
    if not history.broken:
        shutil.rmtree(root, ignore_errors=True)
    return history


def run_histories(first: int, count: int, seconds: float, only: str) -> int:
    """So many, from this seed on, of topologies with `only` in their names; 1 if a promise was broken."""
    faults: Counter[str] = Counter()
    writes = broken = 0
    for seed in range(first, first + count):
        history = asyncio.run(perform(seed, seconds, only))
        faults += history.faults
        writes += history.told.writes
        refused = sum(history.told.refused.values())
        print(
            f"seed {seed}: {history.topology}, {history.mode}, {sum(history.faults.values())} faults, "
            f"{history.told.writes} writes, {refused} refused, agreed after {history.agreed_after_s:.1f} s",
            flush=True,
        )
        for text in history.broken:
            print(f"  BROKEN {text} ({history.root})", flush=True)
        broken += bool(history.broken)
    print(f"{count} histories, {broken} broken, {writes} writes, faults: {dict(faults)}")
    return 1 if broken else 0
