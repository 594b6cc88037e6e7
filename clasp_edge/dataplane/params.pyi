"""Types of params.pyx as Python sees them."""

from clasp_edge.dataplane.past import Past
from clasp_edge.dataplane.ring import Ring

class Params(Past):
    @property
    def outdated(self) -> int: ...
    @property
    def ring(self) -> Ring: ...
    @property
    def sets(self) -> int: ...
