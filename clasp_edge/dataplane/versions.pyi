"""Types of versions.pyx as Python sees them."""

from collections.abc import Callable

from clasp_edge.dataplane.routing import Routing

class Versions(Routing):
    referee: Callable[[bytes, bytes, bytes], bool] | None
