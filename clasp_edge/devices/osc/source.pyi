"""Types of source.pyx as Python sees them."""

from collections import OrderedDict
from typing import Any, Protocol

from clasp_edge.dataplane import Adapter, Plane, Sink

SCHEDULE: int
IGNORE: int
RELATIVE: int
HOP: int
REMOTE: int
END: int

class Addresses(Protocol):
    """A set of addresses."""

    def matches(self, address: bytes) -> bool: ...

class Party(Adapter):
    heard_us: int
    datagrams: int
    def __init__(self, plane: Plane, *args: object, **kwargs: object) -> None: ...

class Source(Sink):
    party: Party | None
    link: Any
    sock: Any
    messages: int
    packets: int
    received_bytes: int
    answered_bytes: int
    confirmed: bool
    expands: bool
    bad: int
    over_rate: int
    refused: int
    complaints: Any
    base: bytes | None
    events: Addresses | None
    outside: Addresses | None
    asks: bool
    timetags: int
    rate: float
    waiting_bytes: int
    clock_told: bool
    clock: Any
    bundle_number: int
    overflow: OrderedDict[object, bytes] | None
    overflow_bytes: int
    behind_wildcard: bool

    @property
    def key(self) -> bytes: ...
    @property
    def name(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def dropped(self) -> bool: ...
    @property
    def tokens(self) -> float: ...
    def spoken(self) -> bytes | None: ...
    @property
    def heard_us(self) -> int: ...
    def __init__(self, key: bytes, host: str, port: int, link: Any = None) -> None: ...

class SourceTable:
    max_sources: int

    @property
    def plane(self) -> Plane: ...
    @property
    def evicted(self) -> int: ...
    def __len__(self) -> int: ...
    def add(self, source: Source) -> None: ...
    def drop(self, source: Source) -> None: ...
    def known(self) -> list[Source]: ...
