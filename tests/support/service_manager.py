"""What systemd is to a service: a notification socket, a file descriptor store, sockets that are handed over.

Real sockets and the real protocol (sd_notify(3), sd_listen_fds(3)); the service is started by `support.daemon.Daemon`.
"""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

WAIT_S = 30.0
POLL_S = 0.01

SAFE_FD = 64
"""Above the numbers that handed over descriptors get."""


class ServiceManager:
    """A context manager. ``watchdog_s`` asks for signs of life; ``sockets`` are handed over at each start, by name, as
    those of socket units are; with ``store`` what the service wants kept is kept, and handed over as well."""

    def __init__(
        self,
        directory: Path,
        *,
        watchdog_s: float | None = None,
        sockets: dict[str, socket.socket] | None = None,
        store: bool = True,
        notify: bool = True,
    ) -> None:
        self.messages: list[dict[str, str]] = []
        self.stored: dict[str, int] = {}
        self.sockets = {name: _high(sock.fileno()) for name, sock in (sockets or {}).items()}
        self._watchdog_s = watchdog_s
        self._store = store
        self._notify = notify
        self._path = str(directory / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._read, daemon=True)

    # ---- support.daemon.Manager ----

    def command(self, command: list[str]) -> list[str]:
        """A shell puts the descriptors in their place and becomes the service, so that it has the right process id."""
        redirections = " ".join(f"{3 + index}<&{fd}-" for index, fd in enumerate(self.descriptors()))
        if not redirections:
            return command
        return ["bash", "-c", f'exec {redirections}; LISTEN_PID=$$ exec "$@"', "service", *command]

    def environment(self) -> dict[str, str]:
        environment = {"NOTIFY_SOCKET": self._path} if self._notify else {}
        if self._watchdog_s is not None:
            environment["WATCHDOG_USEC"] = f"{self._watchdog_s * 1e6:.0f}"
        names = [*self.sockets, *self.stored]
        if names:
            environment |= {"LISTEN_FDS": str(len(names)), "LISTEN_FDNAMES": ":".join(names)}
        return environment

    def descriptors(self) -> tuple[int, ...]:
        return (*self.sockets.values(), *self.stored.values())

    # ---- what the service says ----

    def wait_for(self, name: str, value: str | None = None, *, after: int = 0) -> dict[str, str]:
        """The first message from number `after` on that has the field (with the value)."""
        deadline_s = time.monotonic() + WAIT_S
        while time.monotonic() < deadline_s:
            for message in self.messages[after:]:
                if name in message and value in (None, message[name]):
                    return message
            time.sleep(POLL_S)
        raise AssertionError(f"no {name} (={value}) in {self.messages[after:]}")

    def count(self, name: str) -> int:
        return sum(name in message for message in list(self.messages))

    def __enter__(self) -> Self:
        self._socket.bind(self._path)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(WAIT_S)
        self._socket.close()
        for fd in self.descriptors():
            os.close(fd)

    def _read(self) -> None:
        while True:
            data, fds, _, _ = socket.recv_fds(self._socket, 4096, 16)
            if not data:
                return
            message = dict(line.split("=", 1) for line in data.decode().split("\n"))
            self._handle(message, fds)
            self.messages.append(message)

    def _handle(self, message: dict[str, str], fds: list[int]) -> None:
        if "FDSTORE" in message and self._store:
            self.stored[message["FDNAME"]] = _high(fds[0])
        if "FDSTOREREMOVE" in message and message["FDNAME"] in self.stored:
            os.close(self.stored.pop(message["FDNAME"]))
        for fd in fds:  # the one of BARRIER=1 as well: that it is closed is the answer
            os.close(fd)


def _high(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, SAFE_FD)
