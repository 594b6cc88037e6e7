"""The request `resync`: OSC devices are sent the current values of their patterns once more.

{"request": "resync", "target": NAME}     a configured target, or the host:port of a device that has subscribed
{"request": "resync", "all": true}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from clasp_edge.console.requests import Refused

if TYPE_CHECKING:
    from clasp_edge.devices.osc.server import OscServer

MAX_NAMES = 50
"""That an answer lists: enough to recognise a misspelt one."""


class Resync:
    """The handler. `osc()` is None where OSC is switched off."""

    def __init__(self, osc: Callable[[], OscServer | None]) -> None:
        self._osc = osc

    def __call__(self, request: Mapping[str, Any]) -> dict[str, Any]:
        osc = self._osc()
        if osc is None:
            raise Refused("osc-off", 'OSC is switched off (osc.listen = "off")')
        targets = osc.targets()
        name = request.get("target")
        if request.get("all") is True:
            chosen = dict(targets)
        elif not isinstance(name, str):
            raise Refused("bad-request", 'resync needs "target": the name of one, or "all": true')
        elif name not in targets:
            known = sorted(targets)[:MAX_NAMES]
            listed = ", ".join(f'"{one}"' for one in known) + (", ..." if len(targets) > len(known) else "")
            there = f"there are {listed}" if known else "there are none"
            raise Refused("unknown-target", f'no OSC target "{name[:80]}"; {there}', known=known)
        else:
            chosen = {name: targets[name]}
        told = [
            {
                "name": name,
                "patterns": len(target.subscriptions),
                "reachable": target.link is not None,
                "initial": target.profile.initial,
            }
            for name, target in chosen.items()
        ]
        for target in chosen.values():
            target.resync()
        return {"targets": told}
