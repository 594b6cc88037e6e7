"""Types of ring.pyx as Python sees them."""

from typing import Any

from clasp_edge.wire.pattern import Pattern

class Ring:
    @property
    def size(self) -> int: ...
    def __init__(self, size: int) -> None: ...
    def recent(self, pattern: Pattern, mask: int, count: int, scopes: Any = None) -> list[bytes]: ...
