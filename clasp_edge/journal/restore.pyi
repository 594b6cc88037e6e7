"""Types of restore.pyx as Python sees them."""

from typing_extensions import Buffer

from clasp_edge.dataplane.plane import Plane

def restore_params(
    plane: Plane, source: Buffer, writers: dict[bytes, int], clock_is_right: bool, same_clock_from: int = 0
) -> int: ...
def finish_restore(plane: Plane) -> int: ...
def refill_history(plane: Plane, source: Buffer) -> None: ...
