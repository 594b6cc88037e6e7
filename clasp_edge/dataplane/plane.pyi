"""Types of plane.pyx as Python sees them."""

from typing import Protocol

from clasp_edge.dataplane.core import Core
from clasp_edge.dataplane.params import Params

class Control(Protocol):
    """What a plane asks of the control plane (`Plane`'s docstring)."""

    def classify(self, address: bytes) -> tuple[int, int]: ...
    def strategy_of(self, address: bytes) -> int: ...
    def merge(self, old_type: int, old: bytes, new_type: int, new: bytes) -> tuple[int, bytes]: ...
    def arm(self, deadline_ms: int) -> None: ...

class Plane(Params):
    control: Control

    def __init__(self, core: Core, history_bytes: int) -> None: ...
    def published_with(self, signal: int) -> int: ...
