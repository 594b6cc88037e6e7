"""Types of restore.pyx as Python sees them."""

from typing_extensions import Buffer

from clasp_edge.dataplane.plane import Plane

def restore_params(plane: Plane, block: Buffer, writers: dict[bytes, int], clock_is_right: bool) -> int: ...
def refill_history(plane: Plane, block: Buffer) -> None: ...
