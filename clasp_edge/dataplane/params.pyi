"""Types of params.pyx as Python sees them."""

from collections.abc import Callable

from clasp_edge.dataplane.ring import Ring
from clasp_edge.dataplane.routing import Routing

class Params(Routing):
    referee: Callable[[bytes, bytes, bytes], bool] | None

    @property
    def outdated(self) -> int: ...
    @property
    def ring(self) -> Ring: ...
    def keep_within(self, at_once: int) -> None: ...
    @property
    def sets(self) -> int: ...
