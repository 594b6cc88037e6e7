"""Types of echo_record.pyx as Python sees them."""

from collections.abc import Hashable

class EchoRecord:
    contacts: int
    crossings: int
    held_s: float
    recent: tuple[Hashable, ...]
    said_s: float
    same: int
    told: dict[Hashable, float] | None
    told_s: float
    touched_s: float
    window_s: float

    def __init__(self, now_s: float) -> None: ...
