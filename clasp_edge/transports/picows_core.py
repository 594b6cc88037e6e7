"""What the listener needs of picows, and the compiled listener itself."""

from __future__ import annotations

from clasp_edge.picows_core import (
    WSAutoPingStrategy,
    WSListener,
    WSMsgType,
    WSProtocol,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    beneath,
)

# Compiled against the parser: looks for the package while it is being imported.
ClientListener = beneath("clasp_edge.transports.ws_listener").ClientListener

__all__ = [
    "ClientListener",
    "WSAutoPingStrategy",
    "WSListener",
    "WSMsgType",
    "WSProtocol",
    "WSUpgradeResponse",
    "WSUpgradeResponseWithListener",
]
