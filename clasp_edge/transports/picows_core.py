"""picows without its client API: the compiled WebSocket parser and the few classes it needs.

The package's `__init__` also imports proxies, URL handling and a second network layer, 3 MB that a server never
touches. Here its submodules are imported below an empty package; afterwards `import picows` by anybody else is the
whole package as usual.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

if "picows" in sys.modules:
    from picows import picows as core

    from clasp_edge.transports import ws_listener
else:
    _spec = importlib.util.find_spec("picows")
    if _spec is None or _spec.submodule_search_locations is None:
        raise ImportError("picows is not installed")
    _package = ModuleType("picows")
    _package.__path__ = list(_spec.submodule_search_locations)
    sys.modules["picows"] = _package
    try:
        from picows import picows as core

        # Compiled against the parser: looks for the package while it is being imported.
        from clasp_edge.transports import ws_listener
    finally:
        del sys.modules["picows"]

ClientListener = ws_listener.ClientListener
# At the first connection the parser asks whether the transport is one of that network layer's, and would load it,
# OpenSSL included, to find out. None of ours is.
sys.modules.setdefault("aiofastnet", None)  # type: ignore[arg-type]

WSAutoPingStrategy = core.WSAutoPingStrategy
WSListener = core.WSListener
WSMsgType = core.WSMsgType
WSProtocol = core.WSProtocol  # type: ignore[attr-defined]  # not in picows' stubs
WSUpgradeResponse = sys.modules["picows.common"].WSUpgradeResponse
WSUpgradeResponseWithListener = sys.modules["picows.common"].WSUpgradeResponseWithListener

__all__ = [
    "ClientListener",
    "WSAutoPingStrategy",
    "WSListener",
    "WSMsgType",
    "WSProtocol",
    "WSUpgradeResponse",
    "WSUpgradeResponseWithListener",
]
