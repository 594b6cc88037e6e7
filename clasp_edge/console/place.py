"""Where the control socket is: the daemon binds it there, and the command line looks for it there.

Opens nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from clasp_edge.config.model import Config

SOCKET_NAME = "control.sock"

SYSTEM_SOCKET = Path("/run/clasp-edge") / SOCKET_NAME
"""Where a service manager's RuntimeDirectory=clasp-edge puts it."""

AUTO = "auto"
OFF = "off"


def socket_path(config: Config) -> Path | None:
    """Where the daemon's control socket belongs; None where it is switched off."""
    if config.console.socket == OFF:
        return None
    if config.console.socket != AUTO:
        return Path(config.console.socket).expanduser()
    if given := os.environ.get("RUNTIME_DIRECTORY"):
        return Path(given.split(":")[0]) / SOCKET_NAME  # systemd.exec(5): several are joined by colons
    return config.data_dir / SOCKET_NAME


def places(config: Config, *, also_system: bool) -> list[Path]:
    """Where to look for a running daemon's socket, in this order. `also_system`: its service will do as well, because
    nobody said which daemon is meant."""
    own = socket_path(config)
    if own is None:
        return []
    if also_system and config.console.socket == AUTO and own != SYSTEM_SOCKET:
        return [own, SYSTEM_SOCKET]
    return [own]
