"""Updates by the page: the board's own program behind a Unix socket, as systemd hands it one, and what the page sends.

Knows how to send and ask; what must come of it is the tests' business.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.console import ask
from support.daemon import PROJECT_ROOT, Daemon

from clasp_edge.transports.http import MAX_PIECE_BYTES

BEARER = {"Authorization": "Bearer all"}

PROGRAM = """
import sys
from pathlib import Path
from clasp_board.places import Places
from clasp_board.update import main
sys.exit(main(["-"], Places(Path(sys.argv[1]))))
"""


@contextmanager
def board_program(root: Path) -> Iterator[Path]:
    """A socket behind which each connection has an update program, as clasp-edge-board-update.socket makes it."""
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as listening:
        path = Path(short) / "u.sock"
        listening.bind(str(path))
        listening.listen(2)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                environment = os.environ | {"PYTHONPATH": f"{PROJECT_ROOT / 'image/board'}"}
                with connection:
                    subprocess.run(
                        [sys.executable, "-c", PROGRAM, str(root)], stdin=connection, stdout=connection,
                        stderr=connection, env=environment, check=False,
                    )  # fmt: skip

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield path
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(30)


def post(daemon: Daemon, query: str, piece: bytes, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(*daemon.ws_address, timeout=30)
    fields = {"Content-Type": "application/octet-stream"} | BEARER
    fields |= {name.replace("_", "-"): text for name, text in headers.items()}
    try:
        connection.request("POST", f"/update?{query}", piece, fields)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    return answer.status, json.loads(body) if answer.status == 200 else body.decode()


def report(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = ask(daemon.control_path, request="update")["result"]
    return found


def send(daemon: Daemon, whole: bytes) -> None:
    """As the page sends it."""
    taken = 0
    while taken < len(whole):
        status, answer = post(daemon, f"at={taken}&size={len(whole)}", whole[taken : taken + MAX_PIECE_BYTES])
        assert status == 200, answer
        assert answer["ok"], answer
        if answer["result"]["state"] != "receiving":
            return
        taken = answer["result"]["taken"]
