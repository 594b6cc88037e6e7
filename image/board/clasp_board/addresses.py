"""Addresses that a person has typed: read from text, and judged by whether a box can have or use them.

`read_...` take what older versions took, `check_...` say more: what a box has been running with must not be lost by an
update. Both raise ValueError.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field

from clasp_board.lines import Line

EXAMPLES = {"address": "192.168.1.20/24"}
OTHER_EXAMPLE = "192.168.1.1"

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@dataclass
class Fixed:
    """A fixed address with what belongs to it; all of it empty where the network is to be asked."""

    address: str = ""
    gateway: str = ""
    name_servers: list[str] = field(default_factory=list)

    def take(self, line: Line) -> None:
        """Read `address`, `gateway` or `dns`."""
        present = {"address": self.address, "gateway": self.gateway, "dns": self.name_servers}
        if present[line.key]:
            raise ValueError(f'line {line.number}: "{line.key}" stands there twice')
        try:
            if line.key == "address":
                if "/" not in line.value:
                    raise ValueError
                self.address = str(ipaddress.ip_interface(line.value))
            elif line.key == "gateway":
                self.gateway = str(ipaddress.ip_address(line.value))
            else:
                self.name_servers = [str(ipaddress.ip_address(part)) for part in re.split(r"[,\s]+", line.value)]
        except ValueError:
            example = EXAMPLES.get(line.key, OTHER_EXAMPLE)
            raise ValueError(
                f'line {line.number}: "{line.value}" is not right; it should look like {example}'
            ) from None

    @property
    def interface(self) -> Interface:
        """The address, parsed."""
        return ipaddress.ip_interface(self.address)


def check_fixed(fixed: Fixed) -> None:
    """Whether others can reach a box with this address, and it them."""
    own = fixed.interface if fixed.address else None
    if own:
        if reason := _nobodys(own.ip):
            raise ValueError(f'"{own.ip}" {reason}, so it cannot be the address of a box')
        if own.version == 4 and own.network.prefixlen < 31 and own.ip in (own.network[0], own.network[-1]):
            raise ValueError(f'"{own.ip}" belongs to the network as a whole; a box needs one of those between')
    for name, text in (("gateway", fixed.gateway), *(("dns", server) for server in fixed.name_servers)):
        if text and (reason := _nobodys(ipaddress.ip_address(text))):
            raise ValueError(f'"{text}" {reason}, so it cannot be "{name}"')
    if own and fixed.gateway and ipaddress.ip_address(fixed.gateway).version == own.version == 4:
        if ipaddress.ip_address(fixed.gateway) == own.ip:
            raise ValueError("the gateway has the same address as this box; it is that of the network's router")
        if ipaddress.ip_address(fixed.gateway) not in own.network:
            raise ValueError(f'the gateway "{fixed.gateway}" is not in the network of this box ({own.network})')


def _nobodys(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Why no machine in a network can have this address; empty if one can."""
    if address.is_loopback:
        return "is each machine's own name for itself"
    if address.is_multicast:
        return "stands for a group of machines (multicast)"
    if address.is_unspecified or (address.version == 4 and address in ipaddress.ip_network("0.0.0.0/8")):
        return "stands for no machine"
    if address.version == 4 and address in ipaddress.ip_network("240.0.0.0/4"):
        return "is reserved"
    return ""
