"""How those who follow the log name their cursors: each name begins with one of these.

Imports nothing, so that the daemon can tell them apart without loading who uses them.
"""

from __future__ import annotations

NOT_A_RECORD = 1 << 63
"""In a cursor that keeps something else than a place: beyond all records' numbers, so that none is held back for it."""

UPLINK = "uplink:"
"""An uplink's place in the log, by its name."""

HUB = "hub:"
"""Which life of its hub an uplink was last settled with: a number in the place of a record's, which no reader has."""

HEARD = "heard:"
"""When an uplink had last heard everything of its hub, in seconds of the hub's time and beyond all records' numbers."""

PEER = "peer:"
"""The place of a router that dials in, by its link and id (`places`)."""

THERE = "there:"
"""How far the log of the other router of a pair is here, by the id of its run that has said so, and beyond all records'
numbers."""

BELOW = "below:"
"""How much of our log all routers at the other one of the pair have heard, by its id; beyond all records' numbers."""

RUN = "run:"
"""The id of one of this router's runs, by the run's number, in the place of a record's number."""

ENDED = "ended:"
"""The last record that one of this router's runs has stored, by the run's number, and beyond all records' numbers."""

BRIDGE = "bridge:"
"""The last record up to which the broker of an MQTT bridge has all, by the bridge's name."""
