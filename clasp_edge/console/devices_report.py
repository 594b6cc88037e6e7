"""Sections of the status about devices and bridges, and the metrics made of them.

Imported when somebody asks for the first time, and then only the parts that are switched on are there to be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from clasp_edge.console.sources import COUNTER, GAUGE, Family, StatusSources

if TYPE_CHECKING:
    from clasp_edge.devices.mqtt.server import MqttServer
    from clasp_edge.devices.mqtt_bridge.manager import Bridges
    from clasp_edge.devices.osc.server import OscServer

MAX_TARGETS = 400
"""OSC devices described one by one: all that can be configured to be let in, by default, and some."""


MAX_SENDERS = 100
"""OSC senders described one by one: those heard last."""


def add_mqtt(sources: StatusSources, server: MqttServer) -> None:
    """The MQTT server."""
    sources.add("mqtt", server.statistics, _MQTT)
    sources.add_drop("mqtt_queue", lambda: server.context.dropped)


def add_osc(sources: StatusSources, server: OscServer) -> None:
    """The OSC server and every device that is sent values."""
    sources.add("osc", lambda: _osc_section(server), _OSC)
    sources.add_drop("osc_link", lambda: server.counters.lost)
    sources.add_drop("osc_rate", lambda: server.intake.dropped_over_rate)


def add_bridges(sources: StatusSources, bridges: Callable[[], Bridges | None]) -> None:
    """Every bridge: what its params say. There may be none for now."""
    sources.add("bridges", lambda: _bridges_section(bridges()), _BRIDGES)


def _osc_section(server: OscServer) -> Mapping[str, Any]:
    from clasp_edge.devices.osc.complaints import counts

    targets = server.targets()
    described = {
        name: {"patterns": len(target.subscriptions), "reachable": target.link is not None, "sent": target.told}
        for name, target in list(targets.items())[:MAX_TARGETS]
    }
    now_us = server.router.core.monotonic_us
    senders = {
        source.name: {
            "device": server.device_name(source),
            "transport": "udp" if source.link is None else "tcp",
            "messages": source.messages,
            "bad_packets": source.bad,
            "over_rate": source.over_rate,
            "refused_writes": source.refused,
            "complaints": counts(source),
            "idle_s": round((now_us - source.heard_us) / 1e6, 1),
        }
        for source in server.senders()[:MAX_SENDERS]
    }
    return server.statistics() | {
        "complaints": dict(server.complaints.by_kind),
        "targets": described,
        "senders": senders,
    }


def _bridges_section(bridges: Bridges | None) -> Mapping[str, Any]:
    if bridges is None:
        return {}
    return {name: told | {"up": told.get("state") == "up"} for name, told in bridges.report().items()}


def _osc_counter(key: str, name: str, text: str) -> Family:
    return Family(f"clasp_edge_osc_{name}_total", COUNTER, text, (key,))


_MQTT = (
    Family("clasp_edge_mqtt_connected_clients", GAUGE, "MQTT clients that are connected.", ("connected",)),
    Family("clasp_edge_mqtt_kept_sessions", GAUGE, "Sessions kept for clients that are away.", ("kept",)),
    Family("clasp_edge_mqtt_received_messages_total", COUNTER, "PUBLISH packets received.", ("received",)),
    Family("clasp_edge_mqtt_sent_messages_total", COUNTER, "PUBLISH packets sent.", ("sent",)),
    Family("clasp_edge_mqtt_received_bytes_total", COUNTER, "Bytes of PUBLISH packets received.", ("received_bytes",)),
    Family("clasp_edge_mqtt_refused_messages_total", COUNTER, "Messages refused by the gate.", ("refused",)),
    Family(
        "clasp_edge_mqtt_refused_subscriptions_total",
        COUNTER,
        "Subscriptions refused by a limit.",
        ("refused_subscriptions",),
    ),
    Family(
        "clasp_edge_mqtt_cut_short_total",
        COUNTER,
        "Clients that came back in debt, and what they had sent above their rate was dropped.",
        ("cut_short",),
    ),
    Family("clasp_edge_mqtt_bad_input_total", COUNTER, "Packets and connections that were wrong.", ("bad_input",)),
    Family("clasp_edge_mqtt_queued_bytes", GAUGE, "What waits for slow and absent clients.", ("queued_bytes",)),
    Family("clasp_edge_mqtt_shared_groups", GAUGE, "Groups that share a subscription.", ("shared_groups",)),
)

_OSC = (
    _osc_counter("packets", "received_packets", "Packets received."),
    _osc_counter("messages", "received_messages", "Messages in them that were carried out."),
    _osc_counter("sent", "sent_messages", "Messages sent to devices."),
    _osc_counter("bad_packets", "bad_packets", "Packets that could not be read."),
    _osc_counter("refused_writes", "refused_writes", "Writes refused by the gate."),
    _osc_counter("refused_sources", "refused_packets", "Packets from where none are allowed from."),
    _osc_counter("sources_evicted", "evicted_sources", "Senders forgotten for want of room."),
    _osc_counter("echoes", "suppressed_echoes", "Messages of devices that only repeated what they were told."),
    _osc_counter("loops", "loops_broken", "Loops between the router and a device that were broken."),
    _osc_counter("late_bundles_refused", "refused_bundles", "Bundles for later that were refused."),
    _osc_counter("withheld", "withheld_packets", "Packets not sent to addresses that had not renewed yet."),
    _osc_counter("over_rate", "over_rate_messages", "Messages above a sender's rate: they waited."),
    _osc_counter("replaced_over_rate", "replaced_messages", "Of them, those replaced by a newer value."),
    _osc_counter("own_packets", "own_packets", "Packets of ours that came back from a group or a broadcast."),
    _osc_counter("clocks_not_set", "unset_clock_bundles", "Bundles whose time tags no set clock would give."),
    _osc_counter("expansions", "expanded_patterns", "Messages with wildcards in their address."),
    Family("clasp_edge_osc_sources", GAUGE, "Senders of datagrams that are remembered.", ("sources",)),
    Family("clasp_edge_osc_connections", GAUGE, "Connections over TCP.", ("connections",)),
    Family("clasp_edge_osc_subscribers", GAUGE, "Devices that have subscribed.", ("subscribers",)),
    Family("clasp_edge_osc_waiting_bundles", GAUGE, "Bundles that wait for their time.", ("waiting_bundles",)),
)

_BRIDGES = (
    Family("clasp_edge_bridge_up", GAUGE, "Whether the bridge is connected to a broker.", ("*", "up"), ("bridge",)),
    Family("clasp_edge_bridge_queued_messages", GAUGE, "What waits for the broker.", ("*", "queued"), ("bridge",)),
    Family(
        "clasp_edge_bridge_dropped_messages_total",
        COUNTER,
        "Messages dropped while the broker was away.",
        ("*", "dropped"),
        ("bridge",),
    ),
)
