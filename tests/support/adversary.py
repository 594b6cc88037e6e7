"""How long attacks last: in `make test` for seconds, in `make adversary` at full length."""

from __future__ import annotations

import os

WHOLE = os.environ.get("ADVERSARY") == "whole"


def rounds(short: int, whole: int) -> int:
    """How often an attack is tried."""
    return whole if WHOLE else short
