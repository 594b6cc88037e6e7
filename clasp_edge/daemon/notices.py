"""What the machine has to tell its users, made a param: one sentence for each thing that was found wrong at its start.

$CLASP_EDGE_NOTICES names a file with a sentence in each line, written by the board (docs/board.md). Without it there is
no such param.
"""

from __future__ import annotations

import os
from pathlib import Path

from clasp_edge.config.model import Config
from clasp_edge.daemon.part import Part
from clasp_edge.dataplane import Plane
from clasp_edge.federation.shared.status import Params

VARIABLE = "CLASP_EDGE_NOTICES"
ADDRESS = "/clasp-edge/board/problems"

MAX_BYTES = 16 * 1024
"""Far more than a board has ever had to say, and little enough for one message."""


class Notices(Part):
    """The file as a param: a list of sentences, empty when all is well."""

    name = "board"

    def __init__(self, plane: Plane, file: Path) -> None:
        self._params = Params(plane, "board")
        self._params.open()
        self._file = file

    def ready(self) -> None:
        self.tell()

    def apply_config(self, config: Config) -> None:
        self.tell()

    def tell(self) -> None:
        """Read the file again, and tell what has changed. A file that cannot be read says nothing."""
        try:
            with self._file.open("rb") as file:
                text = file.read(MAX_BYTES).decode(errors="replace")
        except OSError:
            text = ""
        self._params.write(ADDRESS, [line for line in text.splitlines() if line])


def notices(plane: Plane) -> Notices | None:
    """What the environment asks for."""
    named = os.environ.get(VARIABLE)
    return Notices(plane, Path(named)) if named else None
