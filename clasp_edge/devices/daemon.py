"""This process among those that messages pass: what bridges write into what they pass on, and what the MQTT server says
of itself to a bridge. Knows no protocol."""

from __future__ import annotations

import uuid

DAEMON_ID = uuid.uuid4().hex[:12]
"""Of this process."""

VIA = "clasp-edge-via"
"""The name of the property in which a message says which daemons it has passed. A bridge shows it in its CONNECT, and
the MQTT server of a clasp-edge answers with its own id."""
