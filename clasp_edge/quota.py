"""What one token may use at most. Tokens say it, the router enforces it (`router.quota`); knows neither."""

from __future__ import annotations

from typing import NamedTuple


class Quota(NamedTuple):
    """0 is no limit but the router's."""

    messages_per_second: int = 0
    sessions: int = 0
    subscriptions: int = 0
    bytes_per_second: int = 0
    kept_kib: int = 0


UNLIMITED = Quota()
