"""Scopes that allow nothing, because whoever has them cannot get there: MQTT and OSC devices see their namespaces only.

Said by `check`, at the start and by `clasp-edge user`. What CLASP clients may do somewhere is never pointless: an
address is there when somebody writes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from clasp_edge.config.model import Config
from clasp_edge.security.scope import Scope, ScopeError
from clasp_edge.wire.pattern import Pattern, overlap

VARIABLES = ("%u", "%c")
"""Of users' scopes: any name."""


def out_of_reach(config: Config) -> Iterator[str]:
    """A sentence for each such scope of the configuration."""
    if config.security.mode != "authenticated":
        return
    for index, network in enumerate(config.security.network):
        reaches = [reach_of(config, protocol) for protocol in network.protocols]
        reach = None if None in reaches else [text for one in reaches for text in one or ()]
        yield from unreachable(f"security.network[{index}].scopes", network.scopes, reach)
    if config.osc.listen is not None:
        yield from unreachable("osc.scopes", config.osc.scopes, reach_of(config, "osc"))


def unreachable(key: str, scopes: Sequence[str], reach: Sequence[str] | None) -> Iterator[str]:
    """A sentence for each of the scopes that meets nothing of `reach`; None: everything can be reached."""
    if reach is None:
        return
    places = [Pattern(text.encode()) for text in reach]
    for text in scopes:
        filled = text
        for variable in VARIABLES:
            filled = filled.replace(variable, "x")
        try:
            pattern = Scope.parse(filled).pattern
        except ScopeError:
            continue  # told elsewhere
        if not any(overlap(pattern, place) for place in places):
            shown = ", ".join(dict.fromkeys(place.removesuffix("/**") for place in reach))
            yield f'{key}: "{text}" allows nothing: devices reach {shown} only'


def reach_of(config: Config, protocol: str) -> list[str] | None:
    """Patterns of what devices of a protocol can reach; None for everything."""
    if protocol == "osc":
        named = (*config.osc.target, *config.osc.device)
        outside = [text for device in named for text in device.outside if text.startswith("/")]
        return [f"{config.osc.namespace}/**", *outside] if config.osc.namespace else None
    mounts = [mount.address for mount in config.mqtt.mount]
    return [f"{config.mqtt.namespace}/**", *mounts, "/clasp-edge/**"] if config.mqtt.namespace else None
