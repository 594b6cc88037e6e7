"""The hub that an uplink is to find: `discover:`, the one there is, or `discover:NAME`, by name or id.

Anybody in the network can answer. With a pin only a router that shows that certificate is connected to, so a wrong one
costs an attempt and learns nothing; the configuration refuses a token without a pin (config/checks.py).
"""

from __future__ import annotations

from clasp_edge.config.endpoint import Endpoint
from clasp_edge.discovery.finder import find
from clasp_edge.discovery.router import FoundRouter

SEARCH_S = 2.0


class NotFound(Exception):
    """No hub, or more than one that it could be; the text says so."""


async def find_hub(name: str, pin: str, own_id: str) -> Endpoint:
    """Where the hub is. Raises NotFound."""
    pin = pin.lower()

    def fits(router: FoundRouter) -> bool:
        if (own_id and router.id == own_id) or (name and name not in (router.name, router.id)):
            return False
        if not pin:
            return bool(router.ws_port)
        return bool(router.tls_port) and router.fingerprint in ("", pin)

    # One that says the fingerprint, or the name, is it; without either, all have the time to answer.
    sure = (lambda router: fits(router) and (router.fingerprint == pin if pin else True)) if pin or name else None
    try:
        found = await find(SEARCH_S, sure)
    except OSError as error:
        raise NotFound(str(error)) from None
    hubs = [router for router in found if fits(router)]
    if pin:
        hubs.sort(key=lambda router: router.fingerprint != pin)
    called = f' called "{name}"' if name else ""
    if not hubs:
        # Names are strangers' texts; a few say enough.
        others = sorted({router.name for router in found if not own_id or router.id != own_id})[:5]
        seen = f"; there are {', '.join(others)}" if others else ""
        needs = " that is encrypted and shows the certificate of tls_pin" if pin else ""
        raise NotFound(f"no router{called}{needs} answers in the local network{seen}")
    known: dict[str, FoundRouter] = {}
    for router in hubs:
        known.setdefault(router.id or router.host, router)
    if not pin and len(known) > 1:
        names = sorted({f"{router.name} ({router.host})" for router in known.values()})[:5]
        raise NotFound(f"more than one router{called} answers: {', '.join(names)}; name one, discover:NAME")
    return hubs[0].endpoint(tls=bool(pin))
