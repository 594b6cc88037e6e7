"""What the daemon does about uplinks beside running them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from support.daemon import Daemon

from clasp_edge.journal.probe import probe

NOWHERE = 'url = "ws://127.0.0.1:9"\nwants = ["/**"]\n'


def places(daemon: Daemon) -> set[str]:
    """The places in the journal's log that are stored."""
    with tempfile.TemporaryDirectory() as name:
        shutil.copy(daemon.data_dir / "journal" / "data.mdb", name)
        return set(probe(Path(name), readonly=True).cursors)


def test_nothing_is_kept_for_an_uplink_that_is_configured_no_more() -> None:
    with Daemon(config=f"[uplink.one]\n{NOWHERE}[uplink.two]\n{NOWHERE}", sets={"journal.mode": "group"}) as daemon:
        daemon.stop()
        assert {"uplink:one", "uplink:two"} <= places(daemon)
        (daemon.directory / "clasp-edge.toml").write_text(f"[uplink.two]\n{NOWHERE}")
        daemon.start()
        daemon.stop()
        assert "uplink:two" in places(daemon)
        assert "uplink:one" not in places(daemon)
        (daemon.directory / "clasp-edge.toml").write_text("")
        daemon.start()
        daemon.stop()
        assert not any(name.startswith("uplink:") for name in places(daemon))
        daemon.start()
