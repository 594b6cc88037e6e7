"""Several hosts, each a network namespace with a daemon of its own, and everything that can happen to their network.

    with Net("hub", "a", "b") as net:
        net.serve("hub")
        net.serve("a", uplink_to="hub", owns=["/a/**"], wants=["/b/**"])
        with net.blackhole("a"): ...

All traffic between hosts passes through `tun_switch`. Clients are objects of the test's own process whose sockets
belong to a host: `net["a"].client()`. Needs root, iproute2 and /dev/net/tun; `why_not` says what is missing.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from support.client import WsClient
from support.clock_shim import ShiftedClock
from support.daemon import Daemon
from support.live import params_of
from support.netns import why_not as no_namespaces
from support.tun_switch import INTERFACE, MTU_BYTES, inside

from clasp_edge import wire

PORT = 7330
SWITCH = Path(__file__).with_name("tun_switch.py")
LOOKERS = ("'reader'", "'auditor'")
"""Clients that only look how things are."""

_nets = itertools.count()


def why_not() -> str | None:
    """Why there can be no such network here, or None."""
    if reason := no_namespaces():
        return reason
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        return f"no TUN interface can be made here: {error}"
    return None


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=10).stdout


class Host:
    """One namespace, its address and its daemon, once it has one."""

    def __init__(self, name: str, namespace: str, address: str) -> None:
        self.name = name
        self.namespace = namespace
        self.address = address
        self.clock: ShiftedClock | None = None
        self._daemon: Daemon | None = None

    @property
    def daemon(self) -> Daemon:
        assert self._daemon is not None, f"{self.name} has no daemon"
        return self._daemon

    @property
    def url(self) -> str:
        """Of its daemon, from other hosts."""
        return f"ws://{self.address}:{PORT}"

    def run(self, config: str, *, shifted_clock: bool = False, sets: dict[str, object] | None = None) -> None:
        """Start its daemon, with that configuration file; its clock can be shifted if it is to be."""
        assert self._daemon is None, f"{self.name} has its daemon already"
        if shifted_clock:
            self.clock = ShiftedClock(Path(tempfile.mkdtemp(prefix="clasp-edge-clock-")))
        self._daemon = Daemon(
            config=config,
            manager=self,
            sets={"websocket.listen": f"0.0.0.0:{PORT}", "journal.mode": "strict", "name": self.name, **(sets or {})},
        )
        self._daemon.start()

    # ---- daemon.Manager ----

    def command(self, command: list[str]) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *command]

    def environment(self) -> dict[str, str]:
        return self.clock.environment if self.clock is not None else {}

    def descriptors(self) -> tuple[int, ...]:
        return ()

    # ---- clients ----

    def client(self, name: str = "test", **options: Any) -> WsClient:
        """A client on this host, past its HELLO; `snapshot` is the whole state as it was."""
        with inside(self.namespace):
            client = WsClient(f"ws://127.0.0.1:{PORT}")
        client.hello(name, **options)
        client.snapshot += params_of(client.sync())
        return client

    def params(self) -> dict[str, wire.ParamValue]:
        """Every param its daemon has."""
        with self.client("reader") as reader:
            return {param.address: param for param in reader.snapshot}

    def values(self, *prefixes: str) -> dict[str, wire.Value]:
        """Addresses below these prefixes and their values."""
        return {address: param.value for address, param in self.params().items() if address.startswith(tuple(prefixes))}

    def log(self, lines: int = 20) -> str:
        """The end of what its daemon has logged, without the clients that came to look."""
        said = self.daemon.stderr.splitlines()
        told = [line for line in said if not any(name in line for name in LOOKERS)]
        return "\n".join(told[-lines:])

    def close(self) -> None:
        if self._daemon is not None:
            self._daemon.close()
        if self.clock is not None:
            self.clock.close()


class Net:
    """Hosts by name; the first is the hub of the faults, which are between it and another one. A context manager."""

    def __init__(self, *names: str) -> None:
        stem = f"edgefed{os.getpid()}x{next(_nets)}"
        self._hosts = {
            name: Host(name, f"{stem}{name}", f"10.77.0.{number}") for number, name in enumerate(names, start=1)
        }
        self._hub = names[0]
        self._switch: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def __iter__(self) -> Iterator[Host]:
        return iter(self._hosts.values())

    # ---- daemons ----

    def serve(
        self,
        name: str,
        *,
        uplink_to: str | Sequence[str] = (),
        owns: Sequence[str] = (),
        wants: Sequence[str] = (),
        policy: dict[str, str] | None = None,
        more: dict[str, object] | None = None,
        config: str = "",
        shifted_clock: bool = False,
        sets: dict[str, object] | None = None,
    ) -> None:
        """Start the daemon of a host, with an uplink `up` to one or several others; `more` are further keys of it."""
        targets = [uplink_to] if isinstance(uplink_to, str) else list(uplink_to)
        if targets:
            keys: dict[str, object] = {
                "url": [self[target].url for target in targets],
                "owns": list(owns),
                "wants": list(wants),
                **(more or {}),
            }
            config += "\n[uplink.up]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
            if policy:
                pairs = ", ".join(f"{json.dumps(pattern)} = {json.dumps(what)}" for pattern, what in policy.items())
                config += f"policy = {{ {pairs} }}\n"
        self[name].run(config, shifted_clock=shifted_clock, sets=sets)

    # ---- faults ----

    def rule(self, source: str, target: str, **values: object) -> int:
        """Change the rule of one direction (`tun_switch.Rule`); returns how many packets have come that way."""
        order = {"from": self[source].namespace, "to": self[target].namespace, **values}
        with self._lock:
            assert self._switch is not None
            assert self._switch.stdin is not None
            assert self._switch.stdout is not None
            self._switch.stdin.write(json.dumps(order) + "\n")
            self._switch.stdin.flush()
            return int(self._switch.stdout.readline())

    def both(self, name: str, **values: object) -> None:
        """The same rule for both directions between a host and the hub."""
        self.rule(name, self._hub, **values)
        self.rule(self._hub, name, **values)

    @contextlib.contextmanager
    def _meanwhile(self, name: str, normal: dict[str, object], **values: object) -> Iterator[None]:
        self.both(name, **values)
        try:
            yield
        finally:
            self.both(name, **normal)

    def blackhole(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Packets between this host and the hub vanish; nobody is told."""
        return self._meanwhile(name, {"drop": False}, drop=True)

    def lossy(self, name: str, share: float) -> contextlib.AbstractContextManager[None]:
        """This share of the packets, each way, vanishes."""
        return self._meanwhile(name, {"loss": 0.0}, loss=share)

    def slow(self, name: str, delay_ms: float, jitter_ms: float = 0.0) -> contextlib.AbstractContextManager[None]:
        """Packets are late, each way; with a jitter they also overtake each other."""
        return self._meanwhile(name, {"delay_ms": 0.0, "jitter_ms": 0.0}, delay_ms=delay_ms, jitter_ms=jitter_ms)

    @contextlib.contextmanager
    def deaf(self, name: str) -> Iterator[None]:
        """What the hub sends to this host vanishes; the other way is open."""
        self.rule(self._hub, name, drop=True)
        try:
            yield
        finally:
            self.rule(self._hub, name, drop=False)

    @contextlib.contextmanager
    def cut(self, name: str) -> Iterator[None]:
        """The host's interface is down, with its routes."""
        _ip("-n", self[name].namespace, "link", "set", INTERFACE, "down")
        try:
            yield
        finally:
            _ip("-n", self[name].namespace, "link", "set", INTERFACE, "up")

    @contextlib.contextmanager
    def flapping(self, name: str, period_s: float) -> Iterator[None]:
        """Now it is up, now it is down, half a period each."""
        ending = threading.Event()

        def flap() -> None:
            down = False
            while not ending.wait(period_s / 2):
                down = not down
                self.both(name, drop=down)

        thread = threading.Thread(target=flap)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()
            self.both(name, drop=False)

    def readdress(self, name: str, address: str) -> None:
        """Another address in place of the one it has, as from another network."""
        inner = ("-n", self[name].namespace)
        self.rule(name, self._hub, address=address)
        _ip(*inner, "address", "delete", f"{self[name].address}/24", "dev", INTERFACE)
        _ip(*inner, "address", "add", f"{address}/24", "dev", INTERFACE)
        self[name].address = address

    def carried(self) -> int:
        """How many bytes have gone between hosts so far."""
        return sum(self.rule(one, other, count="bytes") for one, other in itertools.permutations(self._hosts, 2))

    def reset(self, name: str) -> None:
        """Break the connections between this host and the hub: both ends are told by a reset."""
        command = ["ip", "netns", "exec", self[name].namespace, "ss", "-K", "dst", self[self._hub].address]
        subprocess.run(command, check=True, capture_output=True, timeout=10)

    def packets(self) -> int:
        """How many packets have gone between hosts so far."""
        return sum(self.rule(one, other) for one, other in itertools.permutations(self._hosts, 2))

    # ---- life ----

    def __enter__(self) -> Self:
        try:
            for host in self:
                _ip("netns", "add", host.namespace)
            self._switch = subprocess.Popen(
                [sys.executable, str(SWITCH), *(f"{host.namespace}={host.address}" for host in self)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert self._switch.stdout is not None
            assert self._switch.stdout.readline() == "ready\n"
            for host in self:
                inner = ("-n", host.namespace)
                _ip(*inner, "link", "set", "lo", "up")
                _ip(*inner, "address", "add", f"{host.address}/24", "dev", INTERFACE)
                _ip(*inner, "link", "set", INTERFACE, "mtu", str(MTU_BYTES), "txqueuelen", "5000", "up")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for host in self:
                    if host._daemon is not None and host.daemon.running:
                        host.daemon.assert_healthy()
            elif error is not None:
                for host in self:
                    if host._daemon is not None:
                        error.add_note(f"--- {host.name} ---\n{host.log()}")
        finally:
            for host in self:
                host.close()
            if self._switch is not None:
                self._switch.kill()
                self._switch.communicate()
            for host in self:
                subprocess.run(["ip", "netns", "delete", host.namespace], check=False, capture_output=True, timeout=10)
