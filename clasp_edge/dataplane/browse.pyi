"""Types of browse.pyx as Python sees them."""

from clasp_edge.dataplane.state import State
from clasp_edge.wire.pattern import Pattern

def branches(state: State, parent: bytes, after: bytes, limit: int) -> tuple[list[tuple[bytes, bool, bool]], bytes]: ...
def addresses_with(state: State, text: bytes, cursor: bytes, limit: int, looks: int) -> tuple[list[bytes], bytes]: ...
def addresses_matching(
    state: State, pattern: Pattern, cursor: bytes, limit: int, looks: int
) -> tuple[list[bytes], bytes]: ...
