"""The reference's own QUIC transport as a client, as a process: `make bench-peers` builds it. Every wait is bounded."""

from __future__ import annotations

import functools
import os
import queue
import ssl
import subprocess
import threading
from pathlib import Path

from support.daemon import PROJECT_ROOT, Daemon

from clasp_edge import wire

CRATE = PROJECT_ROOT / "benchmarks" / "peers" / "clasp_quic_client"
TIMEOUT_S = 20.0


def program() -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR", CRATE / "target")) / "release" / "clasp-quic-client"


@functools.cache
def why_not() -> str | None:
    return None if program().exists() else "the reference's QUIC client has not been built (make bench-peers)"


class ReferenceClient:
    """The program as a process: each `write` is one write of that transport."""

    def __init__(self, daemon: Daemon) -> None:
        certificate = daemon.data_dir / "tls" / "certificate.pem"
        der = daemon.directory / "certificate.der"
        der.write_bytes(ssl.PEM_cert_to_DER_cert(certificate.read_text()))
        host, port = daemon.quic_address
        self._process = subprocess.Popen(
            [program(), f"{host}:{port}", "localhost", der], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self._input = b""
        assert self._lines.get(timeout=TIMEOUT_S) == "connected"

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.strip())

    def __enter__(self) -> ReferenceClient:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(TIMEOUT_S)
        self._thread.join(TIMEOUT_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data.hex() + "\n")
        self._process.stdin.flush()

    def recv(self) -> wire.Message:
        """The next message, whatever the reads were."""
        while True:
            if len(self._input) >= 4:
                size = (12 if self._input[1] & 0x20 else 4) + int.from_bytes(self._input[2:4], "big")
                if len(self._input) >= size:
                    frame, self._input = self._input[:size], self._input[size:]
                    return wire.decode(frame)[1]
            kind, _, text = self._lines.get(timeout=TIMEOUT_S).partition(" ")
            assert kind == "data", text
            self._input += bytes.fromhex(text)

    def acknowledged(self, count: int) -> list[str | None]:
        """The addresses of the next ACKs."""
        found: list[str | None] = []
        while len(found) < count:
            message = self.recv()
            if isinstance(message, wire.Ack):
                found.append(message.address)
        return found
