"""What a running daemon can take over from a changed file, key by key, without dropping a client.

Says what changed and what is then in force; applying it is the daemon's business.
"""

from __future__ import annotations

import msgspec

from clasp_edge.config.model import Config, Osc, Pair, leaves

# What devices have been served by since the start.
OSC_RESTART = ("listen", "also_listen", "groups", "namespace", "tcp_listen", "tcp_framing")

MQTT_RESTART = ("listen", "tls_listen", "namespace", "mount", "max_packet_kib")

# Read anew at each use, so a new value holds from the next message, session or sweep on.
LIVE = frozenset(
    {
        "name",
        "limits.max_sessions",
        "limits.max_half_open",
        "limits.session_timeout_s",
        "limits.handshake_timeout_s",
        "limits.slow_client_timeout_s",
        "limits.max_subscriptions_per_session",
        "limits.max_subscriptions",
        "limits.max_subscriptions_mib",
        "limits.memory_mib",
        "limits.messages_per_second",
        "limits.outbox_kib",
        "limits.event_backlog_kib",
        "limits.gesture_coalesce_ms",
        "limits.max_scheduled_bundles",
        "limits.schedule_horizon_s",
        "limits.max_announced_signals",
        "state.param_ttl_s",
        "state.max_params",
        "state.max_mib",
        "state.eviction",
        "state.lock_grace_s",
        "state.strategy",
        "security.lock_error_code",
        "security.token",
        "security.network",
        "security.trust_anchors",
        "security.certificate",
        "journal.commit_interval_ms",
        "journal.patterns",
        "journal.signals",
        "journal.retention_mib",
        "journal.retention_s",
        "journal.retention_records",
        "journal.audit",
        "journal.audit_mib",
        "journal.audit_s",
        "journal.wear_budget_gb_per_day",
        "bridge",
        "rules.enabled",
        "rules.files",
        "rule",
        "map",
        "scene",
        *(f"osc.{key}" for key in Osc.__struct_fields__ if key not in OSC_RESTART),
        "console.metrics_from",
        "websocket.origins",
        "federation.exclusive",
        "federation.messages_per_second",
        "federation.keep_s",
        "federation.keep_mib",
        "uplink",
        "log.level",
        "mqtt.unretained",
        "mqtt.events",
        "mqtt.max_inflight",
        "mqtt.offline_queue_kib",
        "mqtt.queues_mib",
        "mqtt.max_kept_sessions",
        "mqtt.max_session_expiry_s",
        "mqtt.sys_interval_s",
    }
)

# Bound or allocated once at start, or (the security mode) true of every session since its handshake.
RESTART = frozenset(
    {
        "data_dir",
        "federation.router_id",
        *(f"federation.pair.{key}" for key in Pair.__struct_fields__),
        "websocket.listen",
        "websocket.tls_listen",
        "tcp.listen",
        "tcp.tls_listen",
        "quic.listen",
        "tls.certificate",
        "tls.key",
        "tls.client_ca",
        "tls.client_certificates",
        *(f"mqtt.{key}" for key in MQTT_RESTART),
        "limits.arena_mib",
        "limits.history_kib",
        "security.mode",
        "journal.mode",
        "journal.buffer_kib",
        "console.socket",
        "discovery.listen",
        "oscquery.listen",
        "discovery.mdns",
        *(f"osc.{key}" for key in OSC_RESTART),
    }
)


def reloadable_changes(old: Config, new: Config) -> tuple[list[str], list[str]]:
    """The keys that differ, in the order of the file: those that can be applied now, and those that need a restart."""
    before, after = leaves(old), leaves(new)
    changed = [key for key, value in after.items() if before[key] != value]
    waiting = RESTART
    if old.security.mode != new.security.mode:
        # Tokens belong to their mode: the list of the mode to come would lock out whoever is connected now.
        waiting = waiting | {"security.token", "security.network", "security.certificate"}
    return [key for key in changed if key in LIVE - waiting], [key for key in changed if key in waiting]


def reloaded(old: Config, new: Config) -> Config:
    """The configuration in force after a reload: `new`, with what needs a restart still as in `old`."""
    security = msgspec.structs.replace(new.security, mode=old.security.mode)
    if old.security.mode != new.security.mode:
        security = msgspec.structs.replace(
            security,
            token=old.security.token,
            network=old.security.network,
            certificate=old.security.certificate,
        )
    return msgspec.structs.replace(
        new,
        data_dir=old.data_dir,
        websocket=msgspec.structs.replace(old.websocket, origins=new.websocket.origins),
        tcp=old.tcp,
        quic=old.quic,
        tls=old.tls,
        mqtt=msgspec.structs.replace(new.mqtt, **{key: getattr(old.mqtt, key) for key in MQTT_RESTART}),
        limits=msgspec.structs.replace(new.limits, arena_mib=old.limits.arena_mib, history_kib=old.limits.history_kib),
        journal=msgspec.structs.replace(new.journal, mode=old.journal.mode, buffer_kib=old.journal.buffer_kib),
        security=security,
        osc=msgspec.structs.replace(new.osc, **{key: getattr(old.osc, key) for key in OSC_RESTART}),
        federation=msgspec.structs.replace(
            new.federation, router_id=old.federation.router_id, pair=old.federation.pair
        ),
        discovery=old.discovery,
        oscquery=old.oscquery,
        console=msgspec.structs.replace(new.console, socket=old.console.socket),
    )
