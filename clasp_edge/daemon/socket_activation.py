"""Listening sockets that outlive the process: handed over by the service manager (sd_listen_fds(3)), and given to it
for the next start (its file descriptor store, sd_pid_notify_with_fds(3)).

The configuration says where the router listens. A socket that was handed over is used for the listener with exactly its
address, and for nothing else. Implements `transports.bind.Supply`.
"""

from __future__ import annotations

import logging
import os
import socket

from clasp_edge.daemon.sd_notify import Notifier
from clasp_edge.transports.bind import name_of

log = logging.getLogger("clasp_edge.service")

FIRST_FD = 3
KEPT = "kept."
"""How the names of sockets begin that we stored ourselves; the others belong to socket units."""

BARRIER_TIMEOUT_S = 2.0


def handed_over() -> list[tuple[str, int]]:
    """(name, file descriptor) of everything that was handed over. Takes the variables away, and the descriptors from
    children."""
    pid, count, names = (os.environ.pop(key, "") for key in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    named = names.split(":") if names else []
    found = []
    for index in range(int(count)):
        fd = FIRST_FD + index
        os.set_inheritable(fd, False)
        found.append((named[index] if index < len(named) else "unknown", fd))
    return found


def usable(sock: socket.socket) -> bool:
    """A socket that datagrams arrive at, or connections."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    if sock.type == socket.SOCK_STREAM:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    return sock.type == socket.SOCK_DGRAM


class LastingSockets:
    """What was handed over and is not in use yet; `notifier` takes what is to be kept for the next start."""

    def __init__(self, notifier: Notifier | None) -> None:
        self._notifier = notifier
        self._waiting: list[tuple[str, socket.socket]] = []
        self._stored: set[str] = set()
        for name, fd in handed_over():
            if name.startswith(KEPT):
                self._stored.add(name)
            try:
                sock = socket.socket(fileno=fd)
            except OSError as error:
                log.warning("LISTEN_FDS: fd %d (%s) is not a socket: %s", fd, name,
                            error.strerror)  # fmt: skip
                continue
            if usable(sock):
                self._waiting.append((name, sock))
            else:
                log.warning("LISTEN_FDS: fd %s is not a listening socket", name)
                self._forget(name, sock)

    # ---- transports.bind.Supply ----

    def take(
        self, family: socket.AddressFamily, kind: socket.SocketKind, address: tuple[str | int | bytes, ...], dual: bool
    ) -> socket.socket | None:
        for index, (_, sock) in enumerate(self._waiting):
            if (sock.family, sock.type) != (family, kind) or sock.getsockname() != _full(family, address):
                continue
            if family == socket.AF_INET6 and bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)) == dual:
                continue
            del self._waiting[index]
            return sock
        return None

    def keep(self, sock: socket.socket) -> None:
        if self._notifier is not None:
            # Polling a listening socket for errors would drop it when a client resets.
            self._stored.add(_kept_name(sock))
            self._notifier.send("FDSTORE=1", f"FDNAME={_kept_name(sock)}", "FDPOLL=0", fds=[sock.fileno()])

    def give_up(self, kind: socket.SocketKind, port: int) -> str:
        mine = [(name, sock) for name, sock in self._waiting if sock.type == kind and sock.getsockname()[1] == port]
        for name, sock in mine:
            if not name.startswith(KEPT):
                return f"; systemd listens on {name_of(sock)} for us ({name}): change the address there as well"
            self._waiting.remove((name, sock))
            self._forget(name, sock)
        if mine and self._notifier is not None:
            self._notifier.barrier(BARRIER_TIMEOUT_S)
        return ""

    # ---- the end of the start ----

    def finish(self) -> None:
        """Every listener has its socket: what is left over has no place in the configuration any more."""
        for name, sock in self._waiting:
            if not name.startswith(KEPT):
                log.warning(
                    "systemd listens on %s for us (%s), where the configuration has no listener: "
                    "nobody answers there until that unit is changed or disabled", name_of(sock), name,
                )  # fmt: skip
            self._forget(name, sock)
        self._waiting.clear()

    def let_go(self) -> None:
        """The start has failed: a client is refused, and does not wait for a router that may never come."""
        if self._notifier is not None and self._stored:
            for name in sorted(self._stored):
                self._notifier.send("FDSTOREREMOVE=1", f"FDNAME={name}")
            self._notifier.barrier(BARRIER_TIMEOUT_S)
        self._stored.clear()

    def _forget(self, name: str, sock: socket.socket) -> None:
        if name.startswith(KEPT) and self._notifier is not None:
            self._notifier.send("FDSTOREREMOVE=1", f"FDNAME={name}")
        sock.close()


def let_go() -> None:
    """As `LastingSockets.let_go`, where the start has failed before there was one."""
    if "NOTIFY_SOCKET" in os.environ:
        LastingSockets(Notifier.from_environment()).let_go()


def _kept_name(sock: socket.socket) -> str:
    # Names may repeat in the store, but one that is removed takes all of its name along.
    return f"{KEPT}{os.fstat(sock.fileno()).st_ino}"


def _full(family: socket.AddressFamily, address: tuple[str | int | bytes, ...]) -> tuple[str | int | bytes, ...]:
    """The address as `getsockname` has it."""
    return address if family == socket.AF_INET or len(address) == 4 else (*address, 0, 0)
