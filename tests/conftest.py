"""What all tests may ask for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Tests are imported by path (importlib mode), so their common helpers in tests/support need this directory on the path.
sys.path.append(str(Path(__file__).parent))

pytest_plugins = ["tiers"]


@pytest.fixture(scope="session")
def data() -> Path:
    """The directory of recorded facts about the protocol: `data / "vectors.json"`, `data / "patterns.json"`."""
    return Path(__file__).parent / "data"
