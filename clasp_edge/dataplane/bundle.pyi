"""Types of bundle.pyx as Python sees them."""

from clasp_edge.dataplane.outbox import Sink
from clasp_edge.dataplane.plane import Plane

UNREADABLE: int
TOO_MUCH: int

def split(payload: bytes) -> tuple[int | None, list[bytes]] | None: ...
def dry_run(plane: Plane, origin: Sink, payloads: list[bytes]) -> tuple[int, int, int, int, int, int]: ...
