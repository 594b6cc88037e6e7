"""The control socket: who may open the file may send one line, and gets one line.

Bounds what a connection may send, how long it may take and how many there are; what the lines mean is `requests`'
business. Who may ask is a matter of the file's permissions.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import pwd
import socket
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import cast

from clasp_edge.console.client import MAX_REQUEST_BYTES

log = logging.getLogger("clasp_edge.console")

MAX_CONNECTIONS = 16
"""A connection lives for one request; when there are more, the oldest goes."""

TIMEOUT_S = 5.0
"""For the whole of a connection: to send the line, and to read the answer."""

SOCKET_MODE = 0o660
"""Owner and group: what can be asked for is for those who look after the router."""

_CREDENTIALS = struct.Struct("3i")  # process, user, group

MAX_PATH_BYTES = 107
"""sockaddr_un (unix(7)) has room for so much and a NUL."""


class Unavailable(OSError):
    """The socket cannot be had; the text names it and says why."""


Answer = Callable[[bytes, str], "bytes | asyncio.Future[bytes]"]


class ControlSocket:
    """`answer(line, who)` makes the line that answers a line (both without the line end), now or later; `who` is
    the user of the machine who asks, "user NAME". `start` once, `stop` once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, path: Path, answer: Answer) -> None:
        self.path = path
        self.answer = answer
        self.loop = loop
        self._connections: dict[_Connection, None] = {}
        self._server: asyncio.Server | None = None
        self._file: tuple[int, int] | None = None

    async def start(self) -> None:
        """Bind and listen, in place of the file that a dead process has left. Raises Unavailable."""
        sock = bind_alone(self.path)
        status = os.lstat(self.path)
        self._file = status.st_dev, status.st_ino
        self._server = await self.loop.create_unix_server(lambda: _Connection(self), sock=sock)

    def stop(self) -> None:
        """Answer no more, and take the file away."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for connection in list(self._connections):
            connection.abort()
        with contextlib.suppress(OSError):
            status = os.lstat(self.path)
            # Somebody may have put another one there meanwhile.
            if (status.st_dev, status.st_ino) == self._file:
                self.path.unlink()

    def admit(self, connection: _Connection) -> None:
        """A new connection; the oldest makes room for it."""
        while len(self._connections) >= MAX_CONNECTIONS:
            oldest = next(iter(self._connections))
            self.forget(oldest)
            oldest.abort()
        self._connections[connection] = None

    def forget(self, connection: _Connection) -> None:
        """The connection is over."""
        self._connections.pop(connection, None)


class _Connection(asyncio.Protocol):
    """One line in, one line out."""

    def __init__(self, control: ControlSocket) -> None:
        self._control = control
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._answered = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._control.admit(self)
        self._timer = self._control.loop.call_later(TIMEOUT_S, self.abort)

    def data_received(self, data: bytes) -> None:
        if self._answered:
            return
        self._received += data
        line, end, _ = self._received.partition(b"\n")
        if end or len(self._received) > MAX_REQUEST_BYTES:
            self._reply(line)

    def eof_received(self) -> bool:
        if not self._answered and self._received:
            self._reply(self._received)
        return self._answered

    def connection_lost(self, exc: Exception | None) -> None:
        self._control.forget(self)
        if self._timer is not None:
            self._timer.cancel()

    def abort(self) -> None:
        """End it now, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def _reply(self, line: bytes) -> None:
        assert self._transport is not None
        self._answered = True
        self._received = b""
        answer = self._control.answer(line, self._who())
        if isinstance(answer, bytes):
            self._send(answer)
            return
        # What takes time bounds it itself.
        if self._timer is not None:
            self._timer.cancel()
        answer.add_done_callback(lambda done: self._send(done.result()))

    def _send(self, answer: bytes) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.write(answer + b"\n")
            self._transport.close()

    def _who(self) -> str:
        """As the kernel knows it (unix(7), SO_PEERCRED)."""
        assert self._transport is not None
        sock = self._transport.get_extra_info("socket")
        try:
            credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return "user unknown"
        return f"user {_user_name(_CREDENTIALS.unpack(credentials)[1])}"


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def bind_alone(path: Path) -> socket.socket:
    """A listening socket at `path` that nobody else has. A file that nobody listens on any more is replaced; one that
    somebody does is left alone. Raises Unavailable."""
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise Unavailable(f"the control socket's path is longer than {MAX_PATH_BYTES} bytes: {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Two that start at once must not take each other's fresh socket for a stale one. Not the directory: whoever may
        # read that could hold its lock.
        lock = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_stale(path)
            return _bound(path)
        finally:
            os.close(lock)
    except Unavailable:
        raise
    except BlockingIOError:
        raise Unavailable(f"the control socket {path} is being set up by another process") from None
    except OSError as error:
        raise Unavailable(f"the control socket {path} cannot be made: {error.strerror or error}") from None


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Unavailable(f"the control socket {path} cannot be made: there is a file of that name")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        fault = probe.connect_ex(str(path))
    # Whatever else it says, we cannot know that nobody is there.
    if fault != errno.ECONNREFUSED:
        raise Unavailable(f"the control socket {path} is in use by another process")
    path.unlink()


def _bound(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.bind(str(path))
        path.chmod(SOCKET_MODE)  # nobody can connect before `listen`
        sock.listen(MAX_CONNECTIONS)
    except OSError:
        sock.close()
        raise
    return sock
