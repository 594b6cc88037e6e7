"""What tests of the console have in common: the command line as a process, and a socket that says any bytes.

Every wait is bounded.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

WAIT_S = 20.0


def clasp_edge(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end. `environment` is all it gets beside what Python needs."""
    return subprocess.run(
        [sys.executable, "-m", "clasp_edge", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PATH": "/usr/bin:/bin"} | environment,
    )


def connect(path: Path) -> socket.socket:
    """A connection to a control socket."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(WAIT_S)
    connection.connect(str(path))
    return connection


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other side closes; what it had not read when it did is no fault."""
    received = b""
    try:
        while data := connection.recv(1 << 16):
            received += data
    except ConnectionResetError:
        pass
    return received


def said(path: Path, data: bytes, *, then_end: bool = False) -> bytes:
    """Everything that is answered to these bytes."""
    with connect(path) as connection:
        connection.sendall(data)
        if then_end:
            connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def ask(path: Path, **request: Any) -> dict[str, Any]:
    """The answer to a request: an object with `ok`, and `result` or `error`."""
    answer = said(path, json.dumps(request).encode() + b"\n")
    assert answer.endswith(b"\n"), answer
    assert answer.count(b"\n") == 1, answer
    found: dict[str, Any] = json.loads(answer)
    return found
