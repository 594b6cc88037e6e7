"""Types of params.pyx as Python sees them."""

from clasp_edge.dataplane.ring import Ring
from clasp_edge.dataplane.room import Room

class Params(Room):
    @property
    def outdated(self) -> int: ...
    @property
    def ring(self) -> Ring: ...
    @property
    def sets(self) -> int: ...
