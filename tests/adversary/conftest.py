"""A daemon for each file of attacks, and clients for each test.

An attack is a test with bounded time: of seconds in `make test`, at full length in `make adversary`
(`support.adversary.rounds`).
"""

from __future__ import annotations

from support.fixtures import base, clients, daemon

__all__ = ["base", "clients", "daemon"]
