"""A real Mosquitto on a free port: started, killed, stopped and started again with what it had stored.

Knows the broker's process and its configuration file; nothing of MQTT.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from support.needs import program
from support.ports import free_port

READY_TIMEOUT_S = 30.0
POLL_S = 0.01


class Mosquitto:
    """One broker. A context manager: running on entry, gone on exit. `extra` are further lines of its configuration.

    With `persistent` it stores everything at once, and a new start after `kill` finds it; with `autosave` False only
    when told to `save`. `prefix` is put before the command, to run it in a network namespace.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        persistent: bool = False,
        autosave: bool = True,
        extra: Sequence[str] = (),
        prefix: Sequence[str] = (),
    ) -> None:
        self.host = host
        self.port = port or free_port(host if not prefix else "127.0.0.1")
        self.directory = Path(tempfile.mkdtemp(prefix="clasp-edge-broker-"))
        self._prefix = list(prefix)
        lines = [
            f"listener {self.port} {host}",
            "allow_anonymous true",
            "max_inflight_messages 0",
            "max_queued_messages 0",
            "set_tcp_nodelay true",
            *extra,
        ]
        if persistent:
            lines += [
                "persistence true",
                f"persistence_location {self.directory}/",
                f"autosave_on_changes {str(autosave).lower()}",
                f"autosave_interval {1 if autosave else 0}",
            ]
        if os.geteuid() == 0:
            lines.append("user root")  # else it drops to a user who may not write here
        (self.directory / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """`mqtt://host:port`."""
        return f"mqtt://{self.host}:{self.port}"

    def start(self) -> Self:
        """Start, and wait until it accepts connections."""
        with (self.directory / "log").open("ab") as log:
            command = [*self._prefix, program("mosquitto", "mqtt"), "-c", str(self.directory / "mosquitto.conf"), "-v"]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        while True:
            try:
                socket.create_connection((self.host, self.port), 1.0).close()
                return self
            except OSError:
                assert self._process.poll() is None, self.log
                assert time.monotonic() < deadline_s, self.log
                time.sleep(POLL_S)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(READY_TIMEOUT_S)
            self._process = None

    def stop(self) -> None:
        """SIGTERM, and wait until it is gone."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(READY_TIMEOUT_S)
        self._process = None

    def freeze(self) -> None:
        """SIGSTOP: connections stay and nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def save(self) -> None:
        """SIGUSR1: store everything, and wait until it is."""
        assert self._process is not None
        store = self.directory / "mosquitto.db"
        store.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR1)
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        while not store.exists():  # it appears complete, by being renamed
            assert time.monotonic() < deadline_s, self.log
            time.sleep(POLL_S)

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.directory / "log").read_text(errors="replace")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
