"""A local network that carries broadcast and multicast: a namespace for each host, all on one bridge.

Needs root and a kernel that can do it; `netns.why_not` says what is missing.
"""

from __future__ import annotations

import os
import subprocess
from types import TracebackType
from typing import Self

from support.daemon import Daemon


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=10)


class LanHost:
    """One namespace with an address; a `daemon.Manager`."""

    def __init__(self, namespace: str, address: str) -> None:
        self.namespace = namespace
        self.address = address

    def command(self, command: list[str]) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *command]

    def environment(self) -> dict[str, str]:
        return {}

    def descriptors(self) -> tuple[int, ...]:
        return ()

    def daemon(self, *, config: str = "", **sets: object) -> Daemon:
        """A daemon on this host, not yet started: it listens on every interface and can be found."""
        options = {
            "websocket.listen": "0.0.0.0:7330",
            "discovery.listen": "0.0.0.0:7331",
            "discovery.mdns": "on",
            **{key.replace("__", "."): value for key, value in sets.items()},
        }
        return Daemon(config=config, manager=self, sets=options)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A program on this host, to its end."""
        return subprocess.run(self.command(list(arguments)), capture_output=True, text=True, timeout=30, check=False)


class Lan:
    """Hosts by name. A context manager."""

    def __init__(self, *names: str) -> None:
        stem = f"edgelan{os.getpid()}"
        self._bridge = stem
        self.hosts = {name: LanHost(f"{stem}{name}", f"10.78.0.{n}") for n, name in enumerate(names, start=1)}

    def __getitem__(self, name: str) -> LanHost:
        return self.hosts[name]

    def __enter__(self) -> Self:
        try:
            _ip("netns", "add", self._bridge)
            _ip("-n", self._bridge, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
            _ip("-n", self._bridge, "link", "set", "br0", "up")
            for number, host in enumerate(self.hosts.values()):
                port = f"port{number}"
                _ip("netns", "add", host.namespace)
                _ip("-n", self._bridge, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns",
                    host.namespace)  # fmt: skip
                _ip("-n", self._bridge, "link", "set", port, "master", "br0", "up")
                _ip("-n", host.namespace, "link", "set", "lo", "up")
                _ip("-n", host.namespace, "link", "set", "eth0", "up")
                _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "broadcast", "+", "dev", "eth0")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def unplug(self, name: str) -> None:
        """The host has no address any more but that of the link."""
        _ip("-4", "-n", self[name].namespace, "address", "flush", "dev", "eth0")

    def plug(self, name: str) -> None:
        """It has it again."""
        host = self[name]
        _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "broadcast", "+", "dev", "eth0")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for namespace in (self._bridge, *(host.namespace for host in self.hosts.values())):
            subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True, timeout=10)
