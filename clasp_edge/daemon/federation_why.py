"""What the links to other routers do with one address (`clasp-edge why`). Imported when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from clasp_edge.console.why import Finding
from clasp_edge.federation.downstream.peers import Peers
from clasp_edge.federation.shared.agreement import Agreement
from clasp_edge.federation.upstream.uplink import Uplink

MOST_PATTERNS = 5


def explain(address: bytes, uplinks: Mapping[str, Uplink], peers: Peers | None, decides: str) -> Iterable[Finding]:
    """Who decides, a sentence for each uplink, and for each router below that owns it or is gone. `decides`: who does,
    "" for a router above."""
    if uplinks or peers is not None:
        carrying = ", ".join(name for name, uplink in uplinks.items() if uplink.sender.policies.admits(address))
        who = decides or f"a router above, by uplink {carrying}"
        yield Finding("federation", None, f"{who} decides about locks, expected revisions and strategies")
    for name, uplink in uplinks.items():
        about = f"uplink {name}"
        if not uplink.sender.policies.admits(address):
            patterns = ", ".join((*uplink.config.owns, *uplink.config.wants)[:MOST_PATTERNS])
            yield Finding(about, False, f"does not carry it: it is in neither owns nor wants ({patterns})")
            continue
        role = "owns" if uplink.owned(address) else "wants"
        told = uplink.statistics()
        if uplink.state == "up":
            waits = f"; {told['queue']} messages wait" if told["queue"] else ""
            error = f"; last error: {told['last_error']}" if told["last_error"] else ""
            yield Finding(about, not error and True, f"carries it ({role}), connected to {told['hub']}{waits}{error}")
        else:
            text = f"would carry it ({role}), but is {uplink.state}: {told['last_error'] or 'not connected yet'}"
            yield Finding(about, False, text)
        yield from _agreement(about, uplink.sender.agreement, address, uplink.state == "up")
    for here in peers.here if peers is not None else ():
        if here.downlink is not None:
            yield from _agreement(f"box {here.router_id}", here.downlink.agreement, address, True)
    told_of: Mapping[str, Mapping[str, Any]] = peers.statistics() if peers is not None else {}
    if not uplinks and not told_of:
        yield Finding("other routers", None, "none is linked with this one: what other boxes have does not come here")
    for router_id, peer in told_of.items():
        about = f"box {router_id}" if peer["name"] in ("", router_id) else f"box {peer['name']} ({router_id})"
        owned = [one.text.decode() for one in peer["owns"].patterns if one is not None and one.matches(address)]
        if owned and peer["state"] == "up":
            yield Finding(about, True, f"owns it ({owned[0]}), connected from {peer['remote']}")
        elif owned:
            yield Finding(about, False, f"owns it ({owned[0]}), and is gone")
        elif peer["state"] != "up":
            yield Finding(about, None, "is gone; it owned something else")
        else:
            patterns = ", ".join(peer["owns"].first(MOST_PATTERNS)) or "nothing"
            yield Finding(about, None, f"does not own it: of what is written there, only {patterns} comes here")


def _agreement(about: str, agreement: Agreement, address: bytes, is_up: bool) -> Iterable[Finding]:
    if why := agreement.why(address):
        state = "has been told and has not answered yet" if is_up else "cannot be asked: the link is not up"
        yield Finding(about, False, f"pending: the last write needs its word ({why}), it {state}; it stands here")
    if address in agreement.differs:
        yield Finding(about, False, "differs: the other end has another state, and does not take ours")
