"""Types of sink.pyx as Python sees them."""

from typing import Any

class Sink:
    scopes: Any
    """`router.access.Access`, or None: everything is allowed. The data plane asks it for `allows` only."""

    holding: Any
    """`account.Holding` of a remote party, None for the router's own parts."""

    @property
    def writer(self) -> int: ...

    route: Any
    loop_mark: int
    reserved: bool
    number: int
    way: bytes | None
    author: bytes | None
