"""picows without its client API: the compiled WebSocket parser, for the listener and for uplinks.

The package's `__init__` also imports proxies, URL handling and a second network layer, 3 MB that nobody here touches.
`beneath` imports a submodule, or a module of ours that is compiled against the parser, below an empty package;
afterwards `import picows` by anybody else is the whole package as usual.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any


def beneath(name: str) -> Any:
    """The module of that name, imported without the package's `__init__`. Raises ImportError."""
    if name in sys.modules or "picows" in sys.modules:
        return importlib.import_module(name)
    spec = importlib.util.find_spec("picows")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("picows is not installed")
    package = ModuleType("picows")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["picows"] = package
    try:
        return importlib.import_module(name)
    finally:
        del sys.modules["picows"]


if TYPE_CHECKING:
    from picows import common
    from picows import picows as core
else:
    core = beneath("picows.picows")
    common = beneath("picows.common")
# At the first connection the parser asks whether the transport is one of that network layer's, and would load it,
# OpenSSL included, to find out. None of ours is.
sys.modules.setdefault("aiofastnet", None)  # type: ignore[arg-type]

WSAutoPingStrategy = core.WSAutoPingStrategy
WSListener = core.WSListener
WSMsgType = core.WSMsgType
WSProtocol = core.WSProtocol  # type: ignore[attr-defined]  # not in picows' stubs
WSUpgradeResponse = common.WSUpgradeResponse
WSUpgradeResponseWithListener = common.WSUpgradeResponseWithListener
