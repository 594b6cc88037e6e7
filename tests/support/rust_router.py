"""The reference router as a process: `make bench-peers` builds it. As a hub, and as a leaf of somebody else's hub.

Knows its command line; nothing of the protocol. Every wait is bounded.
"""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from support.client import WsClient
from support.live import params_of

PROJECT_ROOT = Path(__file__).resolve().parents[2]
CRATE = PROJECT_ROOT / "benchmarks" / "peers" / "clasp_router"
READY_TIMEOUT_S = 40.0


def _program() -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR", CRATE / "target")) / "release" / "clasp-router-peer"


@functools.cache
def why_not() -> str | None:
    """Why there is no reference router to talk to, or None."""
    if not _program().exists():
        return "the reference router has not been built (make bench-peers)"
    asked = subprocess.run([_program(), "--features"], capture_output=True, text=True, timeout=10, check=False)
    if "federation" not in asked.stdout.split():
        return "the reference router was built without federation (make bench-peers builds it anew)"
    return None


class RustRouter:
    """A context manager. `leaf_of` is the URL of the hub it dials, as `name`, with the namespaces it `owns`.

    `session_timeout_s`: when it forgets a session that it has broadcast nothing to, checked every 10 s or more.
    """

    def __init__(
        self,
        *,
        leaf_of: str = "",
        name: str = "rust-leaf",
        owns: Sequence[str] = (),
        session_timeout_s: int | None = None,
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.address: tuple[str, int] = probe.getsockname()
        self._options: list[str] = []
        if session_timeout_s is not None:
            self._options += ["--session-timeout", str(session_timeout_s)]
        if leaf_of:
            self._options += ["--leaf", leaf_of, "--id", name]
            for pattern in owns:
                self._options += ["--owns", pattern]
        self._process: subprocess.Popen[str] | None = None
        self._log = Path(tempfile.mkstemp(prefix="clasp-router-peer-")[1])

    @property
    def url(self) -> str:
        return "ws://{}:{}".format(*self.address)

    @property
    def stderr(self) -> str:
        """What the newest run has said: each event of a leaf's link."""
        return self._log.read_text(errors="replace")

    def client(self, name: str = "test") -> WsClient:
        """A client of it, past its HELLO."""
        client = WsClient(self.url)
        client.hello(name)
        client.snapshot += params_of(client.sync())
        return client

    def start(self) -> None:
        assert self._process is None, "already running"
        host, port = self.address
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [_program(), f"{host}:{port}", *self._options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        out = self._process.stdout
        assert out is not None
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.append(out.readline()), daemon=True)
        reader.start()
        reader.join(READY_TIMEOUT_S)
        assert said == [f"ready {host}:{port}\n"], f"it did not get ready: {said} {self.stderr}"

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate(timeout=10)
            self._process = None

    def restart(self) -> None:
        """It comes back on the same port and remembers nothing."""
        self.kill()
        self.start()

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait_for(self, text: str, timeout_s: float = 10.0) -> None:
        """Wait until it has said this on standard error."""
        deadline_s = time.monotonic() + timeout_s
        while text not in self.stderr:
            assert time.monotonic() < deadline_s, f"it has not said {text!r} but {self.stderr!r}"
            time.sleep(0.02)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._log.unlink()
