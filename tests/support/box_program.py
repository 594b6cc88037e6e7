"""The program of a box that writes its settings for another one, behind a Unix socket, as systemd hands it one."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.daemon import PROJECT_ROOT

PROGRAM = """
import sys
from pathlib import Path
from clasp_board.box_file import main
from clasp_board.places import Places
sys.exit(main([], Places(Path(sys.argv[1]))))
"""


@contextmanager
def program(directory: Path, *command: str | Path) -> Iterator[Path]:
    """A socket behind which each connection has a program, as clasp-edge-board-box.socket makes it."""
    path = directory / "b.sock"
    with socket.socket(socket.AF_UNIX) as listening:
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
                    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=connection, env=environment, check=False)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield path
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(30)
