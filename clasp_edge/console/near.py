"""Whether an address is one of those that may see and switch without a token (`console.metrics_from`)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network


def networks_of(texts: Iterable[str]) -> list[IPv4Network | IPv6Network]:
    """The networks that a configuration names."""
    return [ip_network(text) for text in texts]


def is_near(host: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Whether a host (an address, perhaps with brackets and a zone) is in one of the networks."""
    try:
        address = ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # by the socket for both families
    return any(address in network for network in networks)
