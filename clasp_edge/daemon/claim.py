"""Claiming the box: from open to everybody to a router that asks for tokens, while it runs.

{"request": "claim", "action": "report", "networks": [...]}: who is here now and would have to log in
{"request": "claim", "action": "claim", "networks": [...]}: do it; the two tokens are told once
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec

from clasp_edge.console.requests import Refused
from clasp_edge.daemon.part import Guest, Part
from clasp_edge.router.link import CloseCode
from clasp_edge.router.principal import host_of
from clasp_edge.router.router import Router
from clasp_edge.security.claim_file import Claim, check_network, device_scopes, make_claim, read_claim
from clasp_edge.security.kept_file import KeptFileError
from clasp_edge.wire import ErrorCode

MOST_GUESTS = 500
"""Named one by one."""

CLAIMED = "the router was claimed: log in with a token"


class Claims:
    """Handles the request. `parts()` may have guests; `lock(claim)` makes the router ask for tokens from now on."""

    def __init__(self, router: Router, parts: Callable[[], Sequence[Part]], lock: Callable[[Claim], None]) -> None:
        self._router = router
        self._parts = parts
        self._lock = lock

    def __call__(self, request: Mapping[str, Any]) -> dict[str, Any]:
        config = self._router.config
        networks = request.get("networks", [])
        if not isinstance(networks, list) or not all(isinstance(one, str) for one in networks):
            raise Refused("bad-request", '"networks" is a list of texts')
        try:
            for network in networks:
                check_network(network)
            found = read_claim(config.data_dir)
            if config.security.mode != "open" and found is None:
                raise Refused("claim", "the configuration asks for tokens already: there is nothing to claim")
            if request.get("action") == "report":
                return self._report(networks, found)
            locked_out = self._report(networks, found)
            claim, admin, devices = make_claim(
                config.data_dir, str(request.get("who", ""))[:64], networks,
                device_scopes(config.mqtt.namespace, config.osc.namespace),
            )  # fmt: skip
        except KeptFileError as error:
            raise Refused("claim", str(error)) from None
        self._lock(claim)
        self._send_away()
        return locked_out | {"admin": admin, "devices": devices, "scopes": list(claim.scopes)}

    def _report(self, networks: Sequence[str], found: Claim | None) -> dict[str, Any]:
        guests = [guest for guest in self._guests() if not _stays(guest, networks)]
        return {
            "claimed": found is not None,
            "by": found.by if found is not None else "",
            "time": found.time if found is not None else None,
            "locked_out": [msgspec.structs.asdict(guest) for guest in guests[:MOST_GUESTS]],
            "count": len(guests),
        }

    def _guests(self) -> Iterator[Guest]:
        for session in self._router.sessions.values():
            if session.identity is None:
                yield Guest("clasp", session.name, session.link.remote)
        for part in self._parts():
            yield from part.guests()

    def _send_away(self) -> None:
        """Clients of CLASP are told and closed; the parts see to theirs when they are told of the configuration."""
        core = self._router.core
        core.begin_pass()
        for session in list(self._router.sessions.values()):
            if session.identity is None and not session.closing:
                session.revoked = True
                session.error(ErrorCode.UNAUTHORIZED, CLAIMED)
                session.close(CloseCode.POLICY_VIOLATION, CLAIMED)
        core.end_pass()


def _stays(guest: Guest, networks: Sequence[str]) -> bool:
    """Whether the device is in one of the networks."""
    if guest.protocol not in ("mqtt", "osc"):
        return False
    try:
        address = ip_address(host_of(guest.address).strip("[]").partition("%")[0])
    except ValueError:
        return False
    return any(address in ip_network(network) for network in networks)
