"""What all tests may ask for."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

# Tests are imported by path (importlib mode), so their common helpers in tests/support need this directory on the path.
sys.path.append(str(Path(__file__).parent))

from support.examples import examples

pytest_plugins = ["tiers"]

# How long an example takes on a busy machine says nothing about what is tested.
settings.register_profile(
    "any machine", max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
# Who asks only whether a test fails (`make mutation`) waits for no smaller example, and wants the same answer again.
settings.register_profile(
    "whether",
    settings.get_profile("any machine"),
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
    database=None,
)
settings.load_profile("whether" if os.environ.get("EXAMPLES_SHRINK") == "no" else "any machine")


@pytest.fixture(scope="session")
def data() -> Path:
    """The directory of recorded facts about the protocol: `data / "vectors.json"`, `data / "patterns.json"`."""
    return Path(__file__).parent / "data"
