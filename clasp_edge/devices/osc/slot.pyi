"""Types of slot.pyx as Python sees them."""

from typing import Any

class Slot:
    due_s: float
    held_s: float
    unit: Any
    before: list[Any] | None
