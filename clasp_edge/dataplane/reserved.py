"""The addresses by which a router says how it is. Nobody else writes there, and every router has its own."""

from __future__ import annotations

RESERVED = b"/clasp-edge/"
"""What addresses begin with that only sinks with `reserved` write to."""

ONLY_BY_NAME = RESERVED + b"watchdog/"
"""Below this a pattern with wildcards matches nothing: who listens to everything has no use for the router's probe."""
