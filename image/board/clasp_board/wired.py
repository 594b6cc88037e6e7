"""network.txt: the fixed addresses of network sockets, one by one or all alike, networks with a tag (VLAN), the time.

`read_wired` turns its text into its meaning, `check_wired` says what cannot work; both raise ValueError with a
sentence. Writes nothing and asks nothing of the system.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

from clasp_board.addresses import Fixed, check_fixed
from clasp_board.lines import Line, read_lines

VLANS = range(1, 4095)
PORT_NAME = re.compile(r"[a-z][a-z0-9]{0,14}")
MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")
SERVER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,252}[A-Za-z0-9])?")
ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}")

HEADING = "a heading is [eth1], [d8:3a:dd:00:00:01], [vlan 20] or [eth1 vlan 20]"


@dataclass
class Port:
    """A network that the box is in: which socket, which tag, which address."""

    match: str = ""
    """A name such as eth1, or a hardware address; empty for every socket."""
    vlan: int = 0
    """0: without a tag."""
    fixed: Fixed = field(default_factory=Fixed)


@dataclass
class Wired:
    """All that the file says."""

    ports: list[Port] = field(default_factory=list)
    ntp: list[str] = field(default_factory=list)
    timezone: str = ""


def read_wired(text: str) -> Wired:
    """The file's meaning."""
    wired = Wired()
    port = Port()
    for line in read_lines(text, ("address", "gateway", "dns", "ntp", "timezone"), headings=True):
        if not line.key:
            port = _headed(line)
            if any((port.match, port.vlan) == (known.match, known.vlan) for known in wired.ports):
                raise ValueError(f"line {line.number}: [{line.value}] stands there twice")
            wired.ports.append(port)
        elif line.key == "ntp":
            if wired.ntp:
                raise ValueError(f'line {line.number}: "ntp" stands there twice')
            wired.ntp = re.split(r"[,\s]+", line.value)
            for server in wired.ntp:
                if not SERVER.fullmatch(server):
                    raise ValueError(f'line {line.number}: "{server}" is no time server: a name or an address')
        elif line.key == "timezone":
            if not ZONE.fullmatch(line.value):
                raise ValueError(f'line {line.number}: "{line.value}" is no time zone; one is Europe/Berlin')
            wired.timezone = line.value
        else:
            if not wired.ports:
                wired.ports.append(port)
            port.fixed.take(line)
    for port in wired.ports:
        if port.fixed.gateway and not port.fixed.address:
            raise ValueError('the line "address = ..." is missing')
    return wired


def check_wired(wired: Wired) -> None:
    """Whether the box can be in these networks at once."""
    for port in wired.ports:
        check_fixed(port.fixed)
    fixed = [port for port in wired.ports if port.fixed.address]
    for one, other in itertools.combinations(fixed, 2):
        if one.fixed.interface.network.overlaps(other.fixed.interface.network):
            raise ValueError(
                f"{one.fixed.address} and {other.fixed.address} are in the same network, so the box would not know "
                "which of its sockets leads there"
            )
    if sum(bool(port.fixed.gateway) for port in fixed) > 1:
        raise ValueError('only one network can have a "gateway": the one that leads to all others')


def _headed(line: Line) -> Port:
    found = re.fullmatch(r"(\S+)?\s*(?:vlan\s*(\d{1,9}))?", line.value.lower())
    match, vlan = (found[1] or "", found[2]) if found else ("", None)
    if match == "vlan" or not (match or vlan):
        raise ValueError(f"line {line.number}: [{line.value}] is not understood; {HEADING}")
    if match and not (PORT_NAME.fullmatch(match) or MAC.fullmatch(match)):
        raise ValueError(f'line {line.number}: "{match}" is no network socket; {HEADING}')
    if vlan is not None and int(vlan) not in VLANS:
        raise ValueError(f"line {line.number}: a VLAN has a number from {VLANS[0]} to {VLANS[-1]}, not {vlan}")
    return Port(match, int(vlan or 0))
