"""What the links to other routers do with one address (`clasp-edge why`). Imported when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from clasp_edge.console.why import Finding
from clasp_edge.federation.upstream.uplink import Uplink
from clasp_edge.wire.pattern import Pattern

MOST_PATTERNS = 5


def explain(address: bytes, uplinks: Mapping[str, Uplink], peers: Mapping[str, Mapping[str, Any]]) -> Iterable[Finding]:
    """A sentence for each uplink, and for each router below that owns it or is gone."""
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
    if not uplinks and not peers:
        yield Finding("other routers", None, "none is linked with this one: what other boxes have does not come here")
    for router_id, peer in peers.items():
        about = f"box {router_id}" if peer["name"] in ("", router_id) else f"box {peer['name']} ({router_id})"
        owned = [text for text in peer["owns"] if _matches(text, address)]
        if owned and peer["state"] == "up":
            yield Finding(about, True, f"owns it ({owned[0]}), connected from {peer['remote']}")
        elif owned:
            yield Finding(about, False, f"owns it ({owned[0]}), and is gone")
        elif peer["state"] != "up":
            yield Finding(about, None, "is gone; it owned something else")
        else:
            patterns = ", ".join(peer["owns"][:MOST_PATTERNS]) or "nothing"
            yield Finding(about, None, f"does not own it: of what is written there, only {patterns} comes here")


def _matches(text: str, address: bytes) -> bool:
    return Pattern(text.encode()).matches(address)
