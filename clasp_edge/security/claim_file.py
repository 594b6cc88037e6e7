"""Who has claimed the box: `claim.toml` in the data directory. While it is there, everybody has to log in, whatever the
configuration says.

Written with the devices' networks, whose MQTT and OSC devices go on without a login. To give the box up again, stop the
router and remove the file.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from clasp_edge.security.kept_file import KeptFileError, locked, read_tables, table, time_of, when, write_text
from clasp_edge.security.token_file import TokenFile

NAME = "claim.toml"

ADMIN, DEVICES = "admin", "devices"
"""Names of the tokens that a claim makes; with a number behind it where there is one already."""

MOST_NETWORKS = 64


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim that was made: when (Unix seconds), by whom, and the networks of devices with what they may do."""

    time: int
    by: str
    networks: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()


def read_claim(directory: Path) -> Claim | None:
    """The claim, None for a box that nobody has claimed. Raises KeptFileError."""
    path = directory / NAME
    rows = read_tables(path, "claim")
    if not rows:
        # A file that says nothing was one once: an open door is not what its owner wants.
        if path.exists():
            raise KeptFileError(f"{path} is damaged: it has no claim")
        return None
    row = rows[0]
    by, networks, scopes = row.get("by", ""), row.get("networks", []), row.get("scopes", [])
    if not isinstance(by, str) or not _texts(networks) or not _texts(scopes):
        raise KeptFileError(f"{path} is damaged: claim")
    return Claim(time_of(row.get("time", 0), str(path)) or 0, by, tuple(networks), tuple(scopes))


def make_claim(directory: Path, by: str, networks: Sequence[str], scopes: Sequence[str]) -> tuple[Claim, str, str]:
    """Claim the box; returns the claim, an administrator's token and one for devices. Raises KeptFileError, also where
    somebody was faster."""
    if len(networks) > MOST_NETWORKS:
        raise KeptFileError(f"a claim has at most {MOST_NETWORKS} networks")
    for network in networks:
        check_network(network)
    path = directory / NAME
    with locked(path):
        before = read_claim(directory)
        if before is not None:
            day = time.strftime("%Y-%m-%d %H:%M", time.localtime(before.time))
            raise KeptFileError(f"the box is claimed already: {day}, by {before.by or 'somebody'}; nothing was changed")
        tokens = TokenFile(directory)
        admin, _ = tokens.add(_free(tokens, ADMIN), ["admin:/**"], None)
        devices, _ = tokens.add(_free(tokens, DEVICES), scopes, None)
        claim = Claim(int(time.time()), by, tuple(networks), tuple(scopes))
        fields = {"time": when(claim.time), "by": by, "networks": list(networks), "scopes": list(scopes)}
        write_text(path, "# This box is claimed: clients have to log in (docs/security.md).\n" + table("claim", fields))
    return claim, admin, devices


def check_network(text: str) -> None:
    """Raises KeptFileError."""
    try:
        ip_network(text)
    except ValueError:
        raise KeptFileError(f'"{text[:64]}" is no network such as "192.168.1.0/24"') from None


def device_scopes(*namespaces: str) -> list[str]:
    """What devices may do: everything in their own namespaces."""
    return list(dict.fromkeys(f"write:{namespace}/**" for namespace in namespaces))


def _free(tokens: TokenFile, name: str) -> str:
    taken = {token.name for token in tokens.read()}
    return next(one for one in (name, *(f"{name}-{number}" for number in range(2, 10_002))) if one not in taken)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
