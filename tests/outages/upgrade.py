"""Routers of an older version beside those of this one, and what they have kept taken over by it.

A box and its hub, each of either version: what both sides write, before, during and after an outage, arrives; events
arrive once. Then both are started with this version on the data they have, and nothing is missing.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from outages.agreement import state_of, twice, where_different
from outages.network import PROGRAM, Client, Link, MqttWriter, Router

from clasp_edge import wire

OLDER = PROGRAM / "build" / "older"
UP_S = 60.0
AGREED_S = 30.0
SETTLED_S = 3.0
EVENTS = 20
"""Said at each side while there is no link."""

NEVER = wire.Ttl(wire.TtlMode.NEVER)


def older(revision: str) -> Path:
    """The sources of a revision out of this clone's history, compiled. Raises CalledProcessError."""
    named = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"],
        cwd=PROGRAM, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    target = OLDER / named
    if not (target / "built").exists():
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        with subprocess.Popen(["git", "archive", named], cwd=PROGRAM, stdout=subprocess.PIPE) as archive:
            subprocess.run(["tar", "-x"], cwd=target, stdin=archive.stdout, check=True)
        print(f"compiling {named[:12]}", flush=True)
        subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace", "-j", "2"], cwd=target, check=True)
        (target / "built").touch()
    return target


class Upgrade:
    """One mixture. `broken` lists what did not hold."""

    def __init__(self, root: Path, programs: Mapping[str, Path]) -> None:
        self.hub, self.box = Router("h1", root, "group"), Router("b1", root, "group")
        self._routers = (self.hub, self.box)
        self._link = Link(self.hub.ws)
        self.box.uplink = (
            f'[uplink.main]\nurl = "ws://127.0.0.1:{self._link.port}"\n'
            'owns = ["/b1/**", "/mqtt/b1/**"]\nwants = ["/**"]\n'
        )
        for router in self._routers:
            router.program = programs[router.name]
        self._said: dict[str, list[object]] = {"h1": [], "b1": []}
        self.broken: list[str] = []

    async def run(self) -> None:
        """All of it."""
        await self._link.listen()
        try:
            await self._begin()
            await self._write(1)
            await self._agree("before the outage")
            self._link.refuse()
            await self._write(2)
            for router in self._routers:
                await self._say(router)
            await self._link.listen()
            await self._up()
            await self._write(3)
            kept = await self._agree("after the outage")
            await asyncio.sleep(SETTLED_S)
            await self._end()
            self._look_at_events("after the outage")
            for router in self._routers:
                router.program = PROGRAM
            await self._begin()
            states = {router.name: await state_of(router) for router in self._routers}
            for name, state in states.items():
                if lost := where_different({"had": kept, "has": state}):
                    self.broken.append(f"{name} with this version: {lost}")
            await self._write(4)
            await self._agree("with this version")
            await self._end()
            self._look_at_events("with this version")
        finally:
            for router in self._routers:
                await router.end()
            self._link.refuse()

    async def _begin(self) -> None:
        await asyncio.gather(*(router.start() for router in self._routers))
        await self._up()

    async def _up(self) -> None:
        async with asyncio.timeout(UP_S):
            while True:
                client = await Client(self.box.tcp).open()
                params = await client.params(everything=True)
                client.close()
                if params.get("/clasp-edge/uplinks/main/state") == "up":
                    return
                await asyncio.sleep(0.2)

    async def _end(self) -> None:
        for router in (self.box, self.hub):
            await router.end(signal.SIGTERM)

    async def _write(self, turn: int) -> None:
        """At both sides: params of its own, one that is cleared and back every other time, a retained message."""
        for router in self._routers:
            name = router.name
            client = await Client(router.tcp).open()
            for number in range(5):
                await client.write(wire.Set(f"/{name}/x{number}", turn * 10 + number, ttl=NEVER))
            gone = turn % 2 == 0
            over = wire.Ttl(wire.TtlMode.ABSOLUTE, 0) if gone else NEVER
            await client.write(wire.Set(f"/{name}/now-and-then", None if gone else turn, ttl=over))
            client.close()
            mqtt = MqttWriter(router.mqtt)
            await mqtt.publish(f"{name}/kept", str(turn).encode())
            mqtt.close()

    async def _say(self, router: Router) -> None:
        client = await Client(router.tcp).open()
        for number in range(EVENTS):
            event = wire.Publish(f"/{router.name}/event", wire.SignalType.EVENT, number)
            client.send(wire.Bundle((event,)), 2)
            await client.answer(wire.Ack)
            self._said[router.name].append(number)
        client.close()

    async def _agree(self, when: str) -> dict[str, object]:
        """The state that both have."""
        states: dict[str, dict[str, object]] = {}
        for _ in range(int(AGREED_S / 0.3)):
            states = {router.name: await state_of(router) for router in self._routers}
            if not where_different(states) and len(states["h1"]) >= 12:
                return states["h1"]
            await asyncio.sleep(0.3)
        self.broken.append(f"{when}: {where_different(states) or states}")
        return states["h1"]

    def _look_at_events(self, when: str) -> None:
        for router in self._routers:
            journal = router.events()
            for name, said in self._said.items():
                found = journal.get(f"/{name}/event", [])
                if found != said:
                    self.broken.append(
                        f"{when}: events of {name} at {router.name}: {found}" + (" (twice)" if twice(found) else "")
                    )


def run_upgrades(revision: str) -> int:
    """All mixtures with that revision; 1 if something did not hold, 2 if there is no such revision."""
    try:
        before = older(revision)
    except subprocess.CalledProcessError as error:
        print(f"outages: no router of revision {revision}: {error}", file=sys.stderr)
        return 2
    broken = 0
    for hub, box in ((before, before), (PROGRAM, before), (before, PROGRAM), (PROGRAM, PROGRAM)):
        root = Path(tempfile.mkdtemp(prefix="upgrade-"))
        upgrade = Upgrade(root, {"h1": hub, "b1": box})
        try:
            asyncio.run(upgrade.run())
        except (RuntimeError, OSError, TimeoutError, AssertionError) as error:
            upgrade.broken.append(f"{type(error).__name__}: {error}")
        words = ["this version" if program == PROGRAM else "older" for program in (hub, box)]
        print(f"hub: {words[0]}, box: {words[1]}: {'BROKEN' if upgrade.broken else 'as it should be'}", flush=True)
        for text in upgrade.broken:
            print(f"  BROKEN {text} ({root})", flush=True)
        broken += bool(upgrade.broken)
        if not upgrade.broken:
            shutil.rmtree(root, ignore_errors=True)
    return 1 if broken else 0
