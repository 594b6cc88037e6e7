"""Types of log_records.pyx as Python sees them."""

from collections.abc import Callable
from typing import Any

from clasp_edge.federation.shared.batches import Item
from clasp_edge.federation.shared.dedup import Route
from clasp_edge.journal.cursors import Logged

class Waiting:
    position: int
    messages: int
    size: int
    since_s: float
    def __init__(self, position: int) -> None: ...

class Records:
    def __init__(
        self,
        carried_by: Callable[[bytes, int], tuple[Any, ...]],
        known: dict[tuple[bytes, int], tuple[Any, ...]],
        of_run: Callable[[int], Route],
    ) -> None: ...
    def tell(
        self, records: list[Logged], told: dict[Any, list[Item]], on_fault: Callable[[Logged, Exception], None]
    ) -> None: ...
    def count(
        self,
        records: list[Logged],
        last: int,
        counters: dict[Any, Waiting],
        on_fault: Callable[[Logged, Exception], None],
    ) -> None: ...
