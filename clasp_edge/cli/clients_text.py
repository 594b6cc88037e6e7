"""The clients of a router as a person reads them: one line each, and one for what it subscribes to.

Takes the report as it came, from a router that may be older or newer than this program.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from clasp_edge.cli.status_text import duration, printable, size

MOST_REFUSALS = 5


def client_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The lines, without line ends. Nothing in them is anything else than printable."""
    clients = report.get("clients", [])
    for client in clients:
        yield printable(_line(client))
        patterns = client.get("subscriptions", [])
        more = client.get("subscription_count", 0) - len(patterns)
        if patterns:
            yield printable(f"    subscribes to {', '.join(patterns)}{f' and {more} more' if more > 0 else ''}")
    left = report.get("count", 0) - len(clients)
    if left > 0:
        yield f"and {left} more"
    if not clients:
        yield "nobody is connected"
    for refusal in report.get("refusals", [])[:MOST_REFUSALS]:
        at = time.strftime("%H:%M:%S", time.localtime(refusal["time"]))
        who = f"{refusal['name'] or '?'} ({refusal['address']})"
        yield printable(f"refused {at}  {who}: {refusal['text']} (code {refusal['code']})")


def _line(client: Mapping[str, Any]) -> str:
    words = [client.get("name") or "?", client.get("id", ""), " ".join(_protocol(client))]
    words.append(client.get("address") or "away")
    if client.get("subject"):
        words.append(f"token of {client['subject']}")
    if "connected_s" in client:
        words.append(f"for {duration(client['connected_s'])}")
    if client.get("away_s"):
        words.append(f"for {duration(client['away_s'])}")
    if client.get("queued_bytes"):
        words.append(f"{size(client['queued_bytes'])} wait{', reads too slowly' if client.get('slow') else ''}")
    if client.get("drops"):
        words.append(f"{client['drops']} lost")
    return "  ".join(words)


def _protocol(client: Mapping[str, Any]) -> Iterator[str]:
    for key in ("protocol", "version", "transport"):
        if client.get(key):
            yield str(client[key])
