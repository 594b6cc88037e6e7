"""A network namespace joined to ours by a pair of virtual interfaces, and cutting the wire between them.

Needs root and a kernel that can do it; `why_not` says what is missing.
"""

from __future__ import annotations

import os
import subprocess
from types import TracebackType
from typing import Self

from support.needs import program

OURS, THEIRS = "10.199.77.1", "10.199.77.2"


def _ip(*words: str) -> None:
    subprocess.run([program("ip", "network"), *words], check=True, capture_output=True, text=True, timeout=10)


def why_not() -> str | None:
    """Why there can be no namespace, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = f"edge-probe-{os.getpid()}"
    try:
        _ip("netns", "add", probe)
        _ip("netns", "delete", probe)
        _ip("link", "add", "edgeprobe0", "type", "veth", "peer", "name", "edgeprobe1")
        _ip("link", "delete", "edgeprobe0")
    except subprocess.CalledProcessError as error:
        return f"no network namespace can be made here: {error.stderr.strip()}"
    return None


class Namespace:
    """One namespace with the address `THEIRS`; we are `OURS`. A context manager."""

    def __init__(self) -> None:
        self._name = f"edge-{os.getpid()}"
        self._here, self._there = f"edge{os.getpid() % 100_000}a", f"edge{os.getpid() % 100_000}b"

    @property
    def prefix(self) -> list[str]:
        """What goes before a command to run it inside."""
        return ["ip", "netns", "exec", self._name]

    def cut(self) -> None:
        """From now on packets vanish, both ways."""
        _ip("-n", self._name, "link", "set", self._there, "down")

    def mend(self) -> None:
        """They arrive again."""
        _ip("-n", self._name, "link", "set", self._there, "up")

    def lose_our_address(self) -> None:
        """We have no address on the wire any more."""
        _ip("address", "delete", f"{OURS}/30", "dev", self._here)

    def regain_our_address(self) -> None:
        """We have it again."""
        _ip("address", "add", f"{OURS}/30", "dev", self._here)

    def __enter__(self) -> Self:
        _ip("netns", "add", self._name)
        try:
            _ip("link", "add", self._here, "type", "veth", "peer", "name", self._there, "netns", self._name)
            _ip("address", "add", f"{OURS}/30", "dev", self._here)
            _ip("link", "set", self._here, "up")
            _ip("-n", self._name, "address", "add", f"{THEIRS}/30", "dev", self._there)
            self.mend()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # By themselves the interfaces go with the namespace, but some time later.
        subprocess.run(["ip", "link", "delete", self._here], check=False, capture_output=True, timeout=10)
        _ip("netns", "delete", self._name)
