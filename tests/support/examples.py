"""How many examples a property test tries: all of them in `make test`, a tenth in `make check`."""

from __future__ import annotations

import os

FEW = os.environ.get("EXAMPLES") == "few"
LEAST = 5


def examples(number: int) -> int:
    """`max_examples` of a test that tries `number` in the whole suite."""
    return max(LEAST, number // 10) if FEW else number
