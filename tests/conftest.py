"""What all tests may ask for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Tests are imported by path (importlib mode), so their common helpers in tests/support need this directory on the path.
sys.path.append(str(Path(__file__).parent))

from support.examples import examples

pytest_plugins = ["tiers"]

# How long an example takes on a busy machine says nothing about what is tested.
settings.register_profile(
    "any machine", max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def data() -> Path:
    """The directory of recorded facts about the protocol: `data / "vectors.json"`, `data / "patterns.json"`."""
    return Path(__file__).parent / "data"
