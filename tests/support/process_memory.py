"""How much memory a daemon's process holds: what of it no file stands behind."""

from __future__ import annotations

from pathlib import Path

from support.daemon import Daemon


def anonymous_mib(daemon: Daemon) -> float:
    """RssAnon, in MiB."""
    for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    raise AssertionError
