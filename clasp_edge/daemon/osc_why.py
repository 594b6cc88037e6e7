"""What OSC devices have to do with one address (`clasp-edge why`). Imported when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable

from clasp_edge.console.why import Finding
from clasp_edge.devices.osc.complaints import counts
from clasp_edge.devices.osc.links import UdpLink
from clasp_edge.devices.osc.server import OscServer

MOST_DEVICES = 50
MOST_NAMED = 8
RECENT_US = 600_000_000


def explain(address: bytes, server: OscServer, namespace: bytes, port: int) -> Iterable[Finding]:
    """A sentence for each device that is sent it, and for each sender that lately had something refused."""
    for name, target in list(server.targets().items())[:MOST_DEVICES]:
        matching = [each.pattern.text for each in target.subscriptions.values() if each.pattern.matches(address)]
        if not matching:
            continue
        pattern = matching[0].decode("utf-8", "replace")
        if target.scopes is not None and not target.scopes.allows("read", address):
            yield Finding(f"osc device {name}", False, f"wants it by {pattern}, and osc.scopes does not let it read it")
        elif target.link is None:
            yield Finding(f"osc device {name}", False, f"is to be sent it by {pattern}, but its host is not found")
        else:
            where = f" at UDP {target.link.where}" if isinstance(target.link, UdpLink) else ""
            yield Finding(f"osc device {name}", True, f"is sent it by {pattern}{where}; {target.told} messages so far")
    if not address.startswith(namespace + b"/"):
        text = namespace.decode("utf-8", "replace")
        yield Finding("osc", None, f"devices write below {text} only: /fader/1 is {text}/fader/1 here")
    now_us = server.router.core.monotonic_us
    heard = [source for source in server.senders()[:MOST_DEVICES] if now_us - source.heard_us < RECENT_US]
    if not heard:
        text = f"no device has sent anything in the last 10 minutes; this box listens on UDP port {port}"
        yield Finding("osc", None, text)
    elif address.startswith(namespace + b"/"):
        names = ", ".join(f"{server.device_name(one) or one.name} ({one.messages})" for one in heard[:MOST_NAMED])
        yield Finding("osc", None, f"who has sent something to UDP port {port}, and how many messages: {names}")
    for source in heard:
        wrong = counts(source)
        if wrong:
            told = ", ".join(f"{kind} {number}" for kind, number in wrong.items())
            device = server.device_name(source) or source.name
            yield Finding(f"osc device {device}", False, f"sends what is refused or not understood: {told}")
