"""A daemon for each file of attacks, and clients for each test.

An attack is a test with bounded time. What takes longer than a few seconds is marked `long` and runs in
`make adversary` only.
"""

from __future__ import annotations

from support.fixtures import base, clients, daemon

__all__ = ["base", "clients", "daemon"]
