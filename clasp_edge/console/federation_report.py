"""Sections of the status about uplinks and the routers that have dialled in, and the metrics made of them.

Imported when somebody asks for the first time. Knows federation by what it tells only, so that asking loads none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from clasp_edge.console.sources import COUNTER, GAUGE, Family, StatusSources

MAX_PEERS = 200
"""Described one by one; those that are here come first."""

MAX_NAMESPACES = 20
"""Of one peer."""

Told = Mapping[str, Mapping[str, Any]]


def add_federation(
    sources: StatusSources, statistics: Callable[[], Told], left_out: Callable[[], Iterable[str]], *, pair: bool = False
) -> None:
    """`statistics()` has `uplinks` by name, `peers` by id and, where `pair` is true, `pair`; `left_out()` has a
    sentence for each kind of devices whose values no uplink carries."""
    sources.add("uplinks", lambda: {name: _uplink(told) for name, told in statistics()["uplinks"].items()}, _UPLINKS)
    if pair:
        sources.add("pair", lambda: _pair(statistics()["pair"]), _PAIR)
    sources.add("federation", lambda: _federation(statistics()["peers"]), _FEDERATION)
    sources.add("uncarried", lambda: {str(number): text for number, text in enumerate(left_out(), 1)})
    sources.add_drop("uplink_queue", lambda: sum(told["drops"] for told in statistics()["uplinks"].values()))
    sources.add_drop("downlink_queue", lambda: sum(told["drops"] for told in statistics()["peers"].values()))


def _uplink(told: Mapping[str, Any]) -> dict[str, Any]:
    section = {name: value for name, value in told.items() if name != "echo_rtt_ms"}
    return section | {"up": told["state"] == "up", "echo_rtt_s": round(told["echo_rtt_ms"] / 1000, 6)}


def _federation(peers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    here = [(name, told) for name, told in peers.items() if told["state"] == "up"]
    gone = [(name, told) for name, told in peers.items() if told["state"] != "up"]
    shown = {name: _peer(told) for name, told in (*here, *gone)[:MAX_PEERS]}
    return {"count": len(here), "remembered": len(gone), "peers": shown}


def _peer(told: Mapping[str, Any]) -> dict[str, Any]:
    owns = told["owns"]  # as federation keeps it: its texts are made of what is shown only
    return {**told, "up": told["state"] == "up", "owns": owns.first(MAX_NAMESPACES), "patterns": owns.count}


def _pair(told: Mapping[str, Any]) -> dict[str, Any]:
    return {**told, "in_step": told["state"] == "in step"}


def _of_uplink(name: str, kind: Any, text: str, key: str) -> Family:
    return Family(f"clasp_edge_uplink_{name}", kind, text, ("*", key), ("uplink",))


_UPLINKS = (
    _of_uplink("up", GAUGE, "Whether the uplink is connected and in step.", "up"),
    _of_uplink("queued_messages", GAUGE, "What waits for the larger router.", "queue"),
    _of_uplink("queued_bytes", GAUGE, "The same in bytes.", "queue_bytes"),
    _of_uplink("queue_age_seconds", GAUGE, "How long the oldest of it has waited.", "queue_age_s"),
    _of_uplink("echo_rtt_seconds", GAUGE, "How long a message to the larger router and back took.", "echo_rtt_s"),
    _of_uplink("dropped_messages_total", COUNTER, "Messages dropped on the way up.", "drops"),
    _of_uplink("refused_messages_total", COUNTER, "Messages the larger router refused.", "refused"),
    _of_uplink("differing_params", GAUGE, "Params that the last comparison has found to differ.", "differing"),
    _of_uplink("mended_parts_total", COUNTER, "Parts of the state that differed when compared.", "mended"),
    _of_uplink("pending_params", GAUGE, "Params whose last write waits for who decides.", "pending"),
    _of_uplink("sent_messages_total", COUNTER, "Messages sent up.", "told"),
    _of_uplink("connects_total", COUNTER, "Connections made.", "connects"),
    _of_uplink("connect_failures_total", COUNTER, "Connections that did not come about.", "failures"),
    _of_uplink("received_bytes_total", COUNTER, "Bytes received from the larger router.", "bytes_in"),
    _of_uplink("sent_bytes_total", COUNTER, "Bytes sent to it.", "bytes_out"),
)

_PAIR = (
    Family("clasp_edge_pair_in_step", GAUGE, "Whether what is confirmed is at both routers of the pair.", ("in_step",)),
    Family("clasp_edge_pair_waiting", GAUGE, "Confirmations that wait for the other router.", ("waiting",)),
    Family(
        "clasp_edge_pair_confirmed_alone_total", COUNTER, "Confirmations the other router does not stand for.",
        ("confirmed_alone",),
    ),
)  # fmt: skip

_FEDERATION = (
    Family("clasp_edge_federation_peers", GAUGE, "Routers that have dialled in.", ("count",)),
    Family("clasp_edge_federation_peer_up", GAUGE, "Whether it is here.", ("peers", "*", "up"), ("peer",)),
    Family(
        "clasp_edge_federation_peer_queued_messages", GAUGE, "What waits for it.", ("peers", "*", "queue"), ("peer",)
    ),
    Family(
        "clasp_edge_federation_peer_sent_messages_total",
        COUNTER,
        "Messages sent down to it.",
        ("peers", "*", "told"),
        ("peer",),
    ),
)
