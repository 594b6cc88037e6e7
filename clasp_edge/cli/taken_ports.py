"""Who has the ports of the configuration while no router runs: another broker at 1883 is the usual case.

Reads /proc; only root is told the program's name there. Opens nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from clasp_edge.config.model import Config

TCP, UDP = "tcp", "udp"

LISTENING = {TCP: "0A", UDP: "07"}
"""In /proc/net/tcp and udp: a socket that takes connections, and one that takes datagrams from everywhere."""

_SOCKET = re.compile(r"socket:\[(\d+)\]")


def taken_ports(config: Config, proc: Path = Path("/proc")) -> list[str]:
    """A sentence for each port of the configuration that another program listens on."""
    wanted = [
        (f"{name}.{key}", TCP, listen)
        for name, part in (("websocket", config.websocket), ("tcp", config.tcp), ("mqtt", config.mqtt))
        for key, listen in (("listen", part.listen), ("tls_listen", part.tls_listen))
    ]
    wanted += [("quic.listen", UDP, config.quic.listen), ("osc.listen", UDP, config.osc.listen)]
    held = {(kind, port): inode for kind in (TCP, UDP) for port, inode in _listening(proc, kind)}
    return [
        f"{key} {listen}: the port is taken by {_owner(held[kind, listen.port], proc)}; stop that program, or choose "
        f"another port for {key}"
        for key, kind, listen in wanted
        if listen is not None and listen.port and (kind, listen.port) in held
    ]


def _listening(proc: Path, kind: str) -> Iterator[tuple[int, str]]:
    """Port and inode of each listening socket."""
    for table in (f"net/{kind}", f"net/{kind}6"):
        try:
            lines = (proc / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 9 and fields[3] == LISTENING[kind]:
                yield int(fields[1].rpartition(":")[2], 16), fields[9]


def _owner(inode: str, proc: Path) -> str:
    for process in (path for path in proc.iterdir() if path.name.isdecimal()):
        try:
            for descriptor in (process / "fd").iterdir():
                found = _SOCKET.fullmatch(os.readlink(descriptor))
                if found and found[1] == inode:
                    return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:
            continue
    return "another program"
