"""What the OSC server counts beside its intake, for the log and the metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counters:
    """Since the start."""

    bad_packets: int = 0
    refused_writes: int = 0
    refused_sources: int = 0
    echoes: int = 0
    loops: int = 0
    late_bundles_refused: int = 0
    expansions: int = 0
    own_packets: int = 0
    """What came back to us that we had sent ourselves, to a group or to everybody."""
    clocks_not_set: int = 0
    """Bundles done at once because no set clock would give their time tags."""
    sent: int = 0
    lost: int = 0
    """Events that a device's link had no room for, answers that too many others waited before (answers.py), and packets
    that cannot be sent at all (too long, no route)."""
    withheld: int = 0
    """Packets not sent to an address that has asked once and has not renewed (allowance.py)."""
