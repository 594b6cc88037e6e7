"""Types of bundle.pyx as Python sees them."""

from clasp_edge.dataplane.plane import Plane
from clasp_edge.dataplane.sink import Sink

UNREADABLE: int
TOO_MUCH: int

def split(payload: bytes) -> tuple[int | None, list[bytes]] | None: ...
def dry_run(plane: Plane, origin: Sink, payloads: list[bytes]) -> tuple[int, int, int, int, int, int]: ...
