"""Makes the programs of the board and of the image importable, and gives each test a board's directories of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
for directory in (PROJECT, PROJECT / "image/board"):
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))

from clasp_board.places import Places  # noqa: E402


@pytest.fixture
def board(tmp_path: Path) -> Places:
    """A board's file system with a card in it, everything empty."""
    places = Places(tmp_path)
    for directory in (places.firmware, places.data, places.run, places.accepted, tmp_path / "usr/bin"):
        directory.mkdir(parents=True)
    daemon = tmp_path / "usr/bin/clasp-edge"
    daemon.write_text(f'#!/bin/sh\nPYTHONPATH={PROJECT} exec {sys.executable} -m clasp_edge "$@"\n')
    daemon.chmod(0o755)
    return places
