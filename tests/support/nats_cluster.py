"""A JetStream cluster of NATS servers (Debian's `nats-server`) with their MQTT listeners, on free ports of loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from support.ports import HOST, free_port

READY_S = 60.0


def program() -> str | None:
    """Where nats-server is, if it is installed."""
    return shutil.which("nats-server", path=os.environ.get("PATH", "") + ":/usr/sbin")


class Node:
    """One server of a cluster, with a store of its own that outlives it."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.mqtt, self.client, self.cluster, self.monitor = (free_port() for _ in range(4))
        self.root = root / name
        self.root.mkdir(parents=True)
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, nodes: list[Node]) -> None:
        """Write its configuration, which names all nodes."""
        routes = ", ".join(f'"nats://{HOST}:{node.cluster}"' for node in nodes)
        (self.root / "nats.conf").write_text(
            f'server_name: {self.name}\nlisten: "{HOST}:{self.client}"\nhttp: "{HOST}:{self.monitor}"\n'
            f'jetstream {{ store_dir: "{self.root}/store", max_mem: 64M, max_file: 1G }}\n'
            f'cluster {{ name: site, listen: "{HOST}:{self.cluster}", routes: [{routes}] }}\n'
            f'mqtt {{ listen: "{HOST}:{self.mqtt}", ack_wait: "2s" }}\n'
        )

    def start(self) -> None:
        """Start it; it is ready somewhat later."""
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program() or "nats-server", "-c", str(self.root / "nats.conf")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Kill or stop it, and wait."""
        if self._process is not None and self._process.poll() is None:
            self.freeze(False)
            self._process.send_signal(how)
            self._process.wait()

    def freeze(self, on: bool) -> None:
        """SIGSTOP and SIGCONT: it holds its connections and says nothing."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGSTOP if on else signal.SIGCONT)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def jetstream(self) -> dict[str, Any]:
        """What it says about its streams; empty while it does not answer."""
        try:
            with urllib.request.urlopen(
                f"http://{HOST}:{self.monitor}/jsz?accounts=1&streams=1&consumers=1", timeout=2
            ) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except (OSError, urllib.error.URLError, ValueError):
            return {}


def _in_step(group: dict[str, Any], node: Node) -> bool:
    cluster = group.get("cluster", {})
    if not cluster.get("leader"):
        return False
    return cluster["leader"] != node.name or all(one.get("current") for one in cluster.get("replicas", ()))


class NatsCluster:
    """Three nodes (or more). `start` returns when they have a leader."""

    def __init__(self, root: Path, count: int = 3) -> None:
        self.nodes = [Node(f"n{number + 1}", root) for number in range(count)]
        for node in self.nodes:
            node.configure(self.nodes)

    def start(self) -> None:
        """All nodes. Raises TimeoutError."""
        for node in self.nodes:
            node.start()
        self.wait_for_leader()

    def leader(self) -> Node | None:
        """The leader of the cluster's meta group, as most say."""
        for node in self.nodes:
            if node.running and (name := node.jetstream().get("meta_cluster", {}).get("leader")):
                for other in self.nodes:
                    if other.name == name and other.running:
                        return other
        return None

    def in_step(self) -> bool:
        """Whether all nodes run and have what the leaders of their streams and consumers have."""
        return not self.out_of_step()

    def out_of_step(self) -> list[str]:
        """What each node does not have, or has no leader for, as it says."""
        found = []
        for node in self.nodes:
            accounts = node.jetstream().get("account_details")
            if not node.running or accounts is None:
                found.append(f"{node.name}: no answer")
                continue
            for account in accounts:
                for stream in account.get("stream_detail", ()):
                    found += [
                        f"{node.name}: {stream['name']} {group['name']}: {group.get('cluster')}"
                        for group in (stream, *(stream.get("consumer_detail") or ()))
                        if not _in_step(group, node)
                    ]
        return found

    def wait_for_leader(self) -> Node:
        """Raises TimeoutError."""
        until_s = time.monotonic() + READY_S
        while (leader := self.leader()) is None:
            if time.monotonic() > until_s:
                raise TimeoutError(f"no leader within {READY_S:g} s: {self.nodes[0].root.parent}")
            time.sleep(0.1)
        return leader

    def end(self) -> None:
        """Kill all."""
        for node in self.nodes:
            node.end()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()
