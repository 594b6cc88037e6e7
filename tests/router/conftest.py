"""A daemon for each file of tests, and clients for each test."""

from __future__ import annotations

from support.fixtures import base, clients, daemon

__all__ = ["base", "clients", "daemon"]
