"""The board under test, as seen from outside: its ports, and a shell on it by SSH.

Every wait is bounded, generously: an emulated board on a busy machine takes minutes where a real one takes seconds.
"""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

READY_TIMEOUT_S = 900
"""Three times what an emulated board needs on a machine with other work."""

SSH_TIMEOUT_S = 180


class BoardError(Exception):
    """The board did not do what it must; the message ends with what it last said."""


@dataclass
class Ports:
    """Where the board's services are reached from here."""

    ssh: int = 22
    websocket: int = 7330
    mqtt: int = 1883
    osc: int = 8000


@dataclass
class Board:
    """A board that is reached over the network."""

    host: str
    key: Path
    ports: Ports = field(default_factory=Ports)
    emulated: bool = False

    @property
    def url(self) -> str:
        """Of CLASP over WebSocket."""
        return f"ws://{self.host}:{self.ports.websocket}"

    def ssh(self, command: str) -> list[str]:
        """The command line that runs a command on the board."""
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes",
                   "ConnectTimeout=60")  # fmt: skip
        words = ["ssh", "-i", str(self.key), "-p", str(self.ports.ssh)]
        return [*words, *(word for option in options for word in ("-o", option)), f"root@{self.host}", command]

    def run(self, command: str, *, check: bool = True, timeout_s: float = SSH_TIMEOUT_S, given: bytes = b"") -> str:
        """Run a command on the board; its output. Raises BoardError when it fails and `check` is set."""
        words = self.ssh(command)
        done = subprocess.run(words, input=given, capture_output=True, timeout=timeout_s, check=False)
        output = (done.stdout + done.stderr).decode(errors="replace")
        if check and done.returncode:
            raise BoardError(f"{command!r} failed with {done.returncode}:\n{output[-2000:]}")
        return output.strip()

    def answers(self) -> bool:
        """Whether the router answers on its WebSocket port."""
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.ports.websocket}/", timeout=5) as response:
                return bool(response.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> float:
        """Wait for the router; the seconds it took. Raises BoardError."""
        begun = time.monotonic()
        while time.monotonic() - begun < timeout_s:
            if self.answers():
                return time.monotonic() - begun
            time.sleep(1)
        raise BoardError(f"the router did not answer within {timeout_s:.0f} s{self.last_words()}")

    def wait_gone(self, timeout_s: float = 300) -> None:
        """Wait until the router answers no more. Raises BoardError."""
        deadline = time.monotonic() + timeout_s
        while self.answers():
            if time.monotonic() > deadline:
                raise BoardError("the router still answers")
            time.sleep(0.5)

    def wait_until(self, command: str, wanted: str, timeout_s: float = READY_TIMEOUT_S) -> str:
        """Run a command again and again until its output contains `wanted`. Raises BoardError."""
        deadline = time.monotonic() + timeout_s
        output = ""
        while time.monotonic() < deadline:
            try:
                output = self.run(command, check=False)
            except subprocess.TimeoutExpired:
                output = "no answer"
            if wanted in output:
                return output
            time.sleep(3)
        raise BoardError(f"{command!r} did not come to say {wanted!r}; last: {output[-500:]}{self.last_words()}")

    def reboot(self) -> float:
        """Start the board anew from within; seconds until the router answers again."""
        before = self.run("cat /proc/sys/kernel/random/boot_id")
        begun = time.monotonic()
        self.run("systemctl reboot", check=False)
        self.wait_gone()
        self.wait_ready()
        assert self.run("cat /proc/sys/kernel/random/boot_id") != before
        return time.monotonic() - begun

    def last_words(self) -> str:
        """What the board last said on its console, for a failure's message."""
        return ""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port on the loopback that nobody uses."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
