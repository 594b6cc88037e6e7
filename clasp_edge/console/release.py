"""The request `release`: a router id may be taken by the next token that comes with it.

{"request": "release", "router": ID}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from clasp_edge.console.requests import Refused

if TYPE_CHECKING:
    from clasp_edge.federation.downstream.router_ids import RouterIds

MAX_NAMES = 50
"""That an answer lists: enough to recognise a misspelt one."""


class Release:
    """The handler."""

    def __init__(self, ids: Callable[[], RouterIds]) -> None:
        self._ids = ids

    def __call__(self, request: Mapping[str, Any]) -> dict[str, Any]:
        router_id = request.get("router")
        if not isinstance(router_id, str):
            raise Refused("bad-request", 'release needs "router": the id of one')
        ids = self._ids()
        subject = ids.subject(router_id)
        if not ids.release(router_id):
            known = sorted(ids)[:MAX_NAMES]
            listed = ", ".join(f'"{one}"' for one in known)
            there = f"ids with a token: {listed}" if known else "no router id belongs to a token"
            raise Refused(
                "unknown-router", f'the router id "{router_id[:80]}" belongs to no token; {there}', known=known
            )
        return {"router": router_id, "subject": subject}
