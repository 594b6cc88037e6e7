"""An update of the whole box that comes by the page, piece by piece, and goes to the board's update program.

The program listens on a Unix socket that $CLASP_EDGE_UPDATES names (image/overlay: clasp-edge-board-update.socket). It
checks the signature before it writes anything, and writes to the system that is not running; this hands pieces on and
tells what it says. Nothing is kept: what the program has not taken yet is at most BUFFER_BYTES, then the page is asked
to wait. One update at a time. Where there is no such socket, updates come by the package.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any, cast

from clasp_edge.console import box_file
from clasp_edge.console.requests import Refused
from clasp_edge.transports.http import MAX_PIECE_BYTES

log = logging.getLogger("clasp_edge.console")

VARIABLE = "CLASP_EDGE_UPDATES"

PACKAGE = "updates come by the package here: apt-get update && apt-get install clasp-edge"

BUFFER_BYTES = 4 * MAX_PIECE_BYTES
MAX_UPDATE_BYTES = 512 * 1024 * 1024
"""Of a whole update; those of the image have some 75 MB, and no slot of a card has room for so much."""

MAX_SAID_BYTES = 4096
REFUSAL = b"Not installed"
"""How the program begins where it has refused one."""

INSTALLED = b" is installed, and will be tried"
"""What it says of one that it has written and read back. One that ends without this word has been killed, or failed."""

SILENT_S = 30.0
"""A page that sends nothing for so long has been closed, and another one may begin."""

NOTHING, RECEIVING, INSTALLING, DONE, REFUSED = "nothing", "receiving", "installing", "done", "refused"


class Upload:
    """`on_end(state, said)` is called when the program has taken an update, or has refused it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, monotonic_s: Callable[[], float]) -> None:
        self._loop = loop
        self._monotonic_s = monotonic_s
        self._path = os.environ.get(VARIABLE, "")
        self._state = NOTHING
        self._size = self._taken = 0
        self._said = b""
        self._heard_s = 0.0
        self._program: _Program | None = None
        self.on_end: Callable[[str, str], None] = lambda state, said: None

    @property
    def possible(self) -> bool:
        """Whether there is a program that takes updates."""
        return bool(self._path) and os.path.exists(self._path)

    def report(self) -> dict[str, Any]:
        """How it stands: for the request `update`."""
        return {
            "possible": self.possible,
            "box": box_file.possible(),
            "message": "" if self.possible else PACKAGE,
            "state": self._state,
            "size": self._size,
            "taken": self._taken,
            "busy": self._waiting_bytes() > BUFFER_BYTES - MAX_PIECE_BYTES,
            "said": self._said.decode(errors="replace").strip(),
            "piece_bytes": MAX_PIECE_BYTES,
        }

    def begin(self, size: int) -> dict[str, Any]:
        """A new update of so many bytes. Raises Refused."""
        if not self.possible:
            raise Refused("no-updates", PACKAGE)
        if not 0 < size <= MAX_UPDATE_BYTES:
            raise Refused(
                "too-large", f"an update has at most {MAX_UPDATE_BYTES >> 20} MiB; this file has {size} bytes"
            )
        if self._state == INSTALLING or (self._state == RECEIVING and self._monotonic_s() - self._heard_s < SILENT_S):
            raise Refused("busy", "another update is being sent or installed")
        self._drop()
        self._state, self._size, self._taken, self._said = RECEIVING, size, 0, b""
        self._heard_s = self._monotonic_s()
        program = self._program = _Program(self)
        task = self._loop.create_task(self._connect(program))
        program.task = task
        return self.report()

    def take(self, at: int, piece: bytes) -> dict[str, Any]:
        """The piece that begins at `at`. Where the answer says `busy`, or another `taken`, it is to come again from
        there."""
        if self._state == RECEIVING and at == self._taken and not self.report()["busy"]:
            self._heard_s = self._monotonic_s()
            if self._taken + len(piece) > self._size:
                raise Refused("too-large", "more comes than was said")
            self._taken += len(piece)
            if self._program is not None:
                self._program.write(piece)
                if self._taken == self._size:
                    self._state = INSTALLING
                    self._program.end()
        return self.report()

    def stop(self) -> None:
        """The router ends: an update that is not whole is forgotten, one that is whole goes on without us."""
        self._drop()

    def heard(self, program: _Program, data: bytes) -> None:
        """The program says something."""
        if program is self._program:
            self._said = (self._said + data)[-MAX_SAID_BYTES:]
            if REFUSAL in self._said and self._said.endswith(b"\n"):
                program.abort(whole=False)
                self.ended(program)

    def ended(self, program: _Program, why: str = "") -> None:
        """It is done, or does not want it. What it says last is why."""
        if program is not self._program:
            return
        self._program = None
        if why:
            self._said = why.encode()
        whole = self._state == INSTALLING
        self._state = DONE if whole and not why and INSTALLED in self._said else REFUSED
        if not self._said and self._state == REFUSED:
            self._said = b"the update program has ended without a word; its log says why"
        said = self._said.decode(errors="replace").strip()
        log.warning("update: %s: %s", self._state, said)
        self.on_end(self._state, said)

    async def _connect(self, program: _Program) -> None:
        try:
            await self._loop.create_unix_connection(lambda: program, self._path)
        except OSError as error:
            self.ended(program, f"the update program does not answer: {error.strerror or error}")

    def _waiting_bytes(self) -> int:
        return 0 if self._program is None else self._program.waiting_bytes

    def _drop(self) -> None:
        program, self._program = self._program, None
        if program is not None:
            program.abort(whole=self._state == INSTALLING)
        if self._state in (RECEIVING, INSTALLING):
            self._state = NOTHING


class _Program(asyncio.Protocol):
    """The connection to the update program; what comes before it is there waits."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._transport: asyncio.Transport | None = None
        self._early = bytearray()
        self._at_end = False
        self.task: asyncio.Task[None] | None = None

    @property
    def waiting_bytes(self) -> int:
        early = len(self._early)
        return early + (0 if self._transport is None else self._transport.get_write_buffer_size())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._early:
            self._transport.write(bytes(self._early))
            self._early.clear()
        if self._at_end:
            self._transport.write_eof()

    def data_received(self, data: bytes) -> None:
        self._upload.heard(self, data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._upload.ended(self)

    def write(self, piece: bytes) -> None:
        if self._transport is None:
            self._early += piece
        elif not self._transport.is_closing():
            self._transport.write(piece)

    def end(self) -> None:
        """That was all."""
        self._at_end = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()

    def abort(self, *, whole: bool) -> None:
        if self.task is not None and self._transport is None:
            self.task.cancel()
        elif self._transport is not None:
            if whole:
                self._transport.close()
            else:
                self._transport.abort()
