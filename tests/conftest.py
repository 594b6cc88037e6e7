"""What all tests may ask for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Tests are imported by path (importlib mode), so their common helpers in tests/support need this directory on the path.
sys.path.append(str(Path(__file__).parent))

from support.shared_data import shared_dir


@pytest.fixture(scope="session")
def shared() -> Path:
    """The directory of shared data; `shared / "protocol" / "vectors.json"` and so on."""
    try:
        return shared_dir()
    except FileNotFoundError as error:
        pytest.fail(str(error))
