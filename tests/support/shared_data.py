"""Where the protocol's test data lies: beside the project, shared by everything that speaks CLASP, never copied."""

from __future__ import annotations

from pathlib import Path

SHARED_DIR = Path(__file__).resolve().parents[3] / "shared"


def shared_dir() -> Path:
    """The directory of shared data. Raises FileNotFoundError that says where it was looked for."""
    if not (SHARED_DIR / "protocol").is_dir():
        raise FileNotFoundError(
            f"the shared test data is missing: {SHARED_DIR / 'protocol'} is no directory; "
            "put it beside the project (vectors.json, patterns.json)"
        )
    return SHARED_DIR
