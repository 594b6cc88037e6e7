"""Whether the box reaches anybody: its gateway or a neighbour. An update that ends that is not kept.

Asked for at the update, by the system that works; asked again by the system on trial. Knows ping and the kernel's table
of neighbours; an answer at the level of addresses (ARP, neighbour discovery) counts as well, since many refuse to be
pinged.
"""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

from clasp_board.places import Places
from clasp_board.system import run, write_atomically

FILE = "reached-at-update"
"""Below the data partition: whom the box reached when the update was installed."""

MOST_ASKED = 4

PING_S = "9"
"""So long the kernel's table takes to tell one that is gone from one that refuses pings: DELAY 5 s, PROBE 3 s."""


def remember_network(places: Places) -> None:
    """Keep whom this system reaches, for the one that is tried next. What cannot be kept is not asked for then."""
    if not os.path.ismount(places.data) and places.root == Path("/"):
        return
    try:
        write_atomically(places.data / FILE, ("".join(f"{one}\n" for one in reached())).encode())
    except OSError as error:
        print(f"whom the box reaches could not be kept: {error}")


def network_is_as_before(places: Places) -> bool:
    """Whether somebody is reached, or nobody was before the update."""
    try:
        before = (places.data / FILE).read_text().split()
    except OSError:
        return True
    # Whom nobody has talked to since the start is in no table yet; to ask is what finds them.
    return not before or any(answers(one) for one in before[:MOST_ASKED]) or bool(reached())


def forget_network(places: Places) -> None:
    """The update is kept or gone."""
    try:
        (places.data / FILE).unlink(missing_ok=True)
    except OSError as error:
        print(f"{FILE} could not be taken away: {error}")


def reached() -> list[str]:
    """The gateways that answer, of either family; without a gateway, the neighbours that do."""
    asked = _gateways() or _neighbours()
    return [address for address in dict.fromkeys(asked[:MOST_ASKED]) if answers(address)]


def answers(address: str) -> bool:
    """Whether this neighbour answers, to a ping or only with its hardware address."""
    if run("ping", "-n", "-q", "-c", "1", "-w", PING_S, address, timeout_s=20).returncode == 0:
        return True
    host, _, interface = address.partition("%")
    where = ("dev", interface) if interface else ()
    states = [state for one in _shown("neighbour", "show", host, *where) for state in one.get("state", [])]
    return "REACHABLE" in states


def _gateways() -> list[str]:
    """Of IPv4 and IPv6 in turn, so that a network with many of one family does not hide the other."""
    families = []
    for family in ("-4", "-6"):
        hops = []
        for route in _shown(family, "route", "show", "default"):
            for hop in [route, *route.get("nexthops", [])]:
                gateway = hop.get("gateway") or hop.get("via", {}).get("host")
                hops.append(_scoped({"dst": gateway, "dev": route.get("dev"), **hop}, gateway))
        families.append([hop for hop in hops if hop])
    return [hop for hops in itertools.zip_longest(*families) for hop in hops if hop]


def _neighbours() -> list[str]:
    return [_scoped(one, one.get("dst")) for one in _shown("neighbour", "show") if one.get("dst") and one.get("lladdr")]


def _scoped(one: dict[str, Any], address: object) -> str:
    """An address of the link alone, as gateways of IPv6 have it, means something only beside an interface."""
    if not isinstance(address, str):
        return ""
    return f"{address}%{one.get('dev')}" if address.lower().startswith("fe80:") else address


def _shown(*words: str) -> list[dict[str, Any]]:
    done = run("ip", "-json", *words, timeout_s=20)
    try:
        found = json.loads(done.stdout or "[]")
    except ValueError:
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
