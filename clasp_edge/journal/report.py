"""What the journal says about itself: params under /clasp-edge/journal/ and lines in the log.

These params are not kept by the journal: writing them would be a change to write again.
"""

from __future__ import annotations

import logging

from clasp_edge.dataplane import Adapter, Plane
from clasp_edge.dataplane.reserved import RESERVED
from clasp_edge.wire import Value, encode_value

log = logging.getLogger("clasp_edge.journal")

AREA = RESERVED + b"journal/"

_HAS_TTL = 0x10
_NEVER = 0


class Report:
    """Writes params, each only when its value has changed."""

    def __init__(self, plane: Plane) -> None:
        self._adapter = Adapter(plane)
        self._adapter.reserved = True
        plane.register(self._adapter, b"clasp-edge")
        self._told: dict[bytes, Value] = {}

    def tell(self, **values: Value) -> None:
        for name, value in values.items():
            address = AREA + name.encode()
            if self._told.get(address) != value:
                self._told[address] = value
                self._adapter.set(address, *encode_value(value), flags=_HAS_TTL, ttl=_NEVER)
