"""The router's own sections of the status, and the metrics made of them: from counters that are kept anyway.

Imported when somebody asks for the first time.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

from clasp_edge.console.health import Health
from clasp_edge.console.sources import COUNTER, GAUGE, Family, StatusSources
from clasp_edge.router.router import Router
from clasp_edge.version import __version__
from clasp_edge.wire import SignalType

MAX_PRINCIPALS = 10
"""Those that hold most memory, told one by one."""

_KINDS = ("websocket", "tcp", "quic", "mqtt", "osc")


class RouterReport:
    """The router's sections, each a method. `addresses` are the bound listeners, as `scheme://host:port`."""

    def __init__(self, router: Router, health: Health, addresses: list[str], started_s: float) -> None:
        self._router = router
        self._health = health
        self._addresses = addresses
        self._started_s = started_s

    def add_to(self, sources: StatusSources) -> None:
        """Add all sections."""
        sources.add("router", self.router, _ROUTER)
        sources.add("listeners", self.listeners)
        sources.add("sessions", self.sessions, _SESSIONS)
        sources.add("params", self.params, _PARAMS)
        sources.add("messages", self.messages, _MESSAGES)
        core = self._router.core
        sources.add_drop("event_backlog", lambda: core.dropped_events)
        sources.add_drop("stream_outbox", lambda: core.dropped_streams)
        sources.add_drop("rate_limit", lambda: core.over_rate)
        sources.add("drops", sources.drops, _DROPS)
        sources.add("errors", self.errors, _ERRORS)
        sources.add("memory", self.memory, _MEMORY)
        sources.add("loop", self.loop, _LOOP)
        sources.add("machine", machine, _MACHINE)

    def router(self) -> dict[str, Any]:
        config = self._router.config
        uptime_s = self._router.clock.monotonic_s() - self._started_s
        return {
            "version": __version__,
            "name": config.name,
            "pid": os.getpid(),
            "security": config.security.mode,
            "uptime_s": round(uptime_s, 1),
            "started": round(self._router.clock.wall_s() - uptime_s, 1),
            "healthy": self._health.fault() is None,
        }

    def listeners(self) -> dict[str, Any]:
        """By scheme; several of one with commas between them."""
        found: dict[str, str] = {}
        for address in self._addresses:
            scheme, _, where = address.partition("://")
            found[scheme] = f"{found[scheme]}, {where}" if scheme in found else where
        return found

    def sessions(self) -> dict[str, Any]:
        router = self._router
        return {
            "by_kind": {kind: router.places.by_kind[kind] for kind in _KINDS},
            "half_open": len(router.half_open),
            "moved": router.places.moved,
            "half_open_evicted": router.half_open.evicted,
            "max": router.config.limits.max_sessions,
            "subscriptions": router.plane.trie.size,
            "subscription_bytes": router.plane.trie.memory_bytes,
        }

    def params(self) -> dict[str, Any]:
        plane = self._router.plane
        return {
            "count": plane.params,
            "max": plane.max_params,
            "bytes": plane.state_bytes,
            "max_bytes": plane.max_bytes,
            "evicted": plane.evicted,
            "expired": plane.expired,
            "announced_signals": len(self._router.signals),
            "scheduled_bundles": len(self._router.schedule),
        }

    def messages(self) -> dict[str, Any]:
        plane = self._router.plane
        by_signal = {signal.label: plane.published_with(signal) for signal in SignalType}
        by_signal["param"] += plane.sets
        return {
            "by_signal": by_signal,
            "deliveries": plane.deliveries,
            "superseded": self._router.core.conflated_params,
            "sent_bytes": self._router.core.sent_bytes,
        }

    def errors(self) -> dict[str, Any]:
        return {str(int(code)): count for code, count in sorted(self._router.errors.items())}

    def memory(self) -> dict[str, Any]:
        core, accounts = self._router.core, self._router.accounts
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return {
            "resident_bytes": resident,
            "arena_bytes": core.arena_total,
            "arena_used_bytes": core.arena_total - core.arena_free,
            "kept_bytes": accounts.used,
            "kept_limit_bytes": accounts.total,
            "kept_by_kind": accounts.kinds(),
            "kept_by_principal": {one.principal: one.used for one in accounts.heaviest(MAX_PRINCIPALS)},
            "principals": len(accounts),
            "refused": accounts.refusals,
        }

    def loop(self) -> dict[str, Any]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "lag_s": round(self._health.lag_s(), 6),
            "worst_lag_s": round(self._health.worst_lag_s(), 6),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
            "passes": self._router.core.passes,
        }


_ROUTER = (
    Family("clasp_edge_info", GAUGE, "The version that runs; always 1.", ("version",), ("version",)),
    Family("clasp_edge_start_time_seconds", GAUGE, "Unix time of the start.", ("started",)),
    Family("clasp_edge_healthy", GAUGE, "Whether /healthz says so.", ("healthy",)),
)
_SESSIONS = (
    Family("clasp_edge_sessions", GAUGE, "Clients, by what they speak.", ("by_kind", "*"), ("kind",)),
    Family("clasp_edge_sessions_limit", GAUGE, "limits.max_sessions; 0 is unlimited.", ("max",)),
    Family("clasp_edge_half_open_connections", GAUGE, "Connections without HELLO or CONNECT so far.", ("half_open",)),
    Family("clasp_edge_sessions_moved_total", COUNTER, "Sessions closed to admit another host's client.", ("moved",)),
    Family(
        "clasp_edge_half_open_evicted_total",
        COUNTER,
        "Connections closed because limits.max_half_open was reached.",
        ("half_open_evicted",),
    ),
    Family("clasp_edge_subscriptions", GAUGE, "Subscriptions of all kinds of clients and devices.", ("subscriptions",)),
    Family("clasp_edge_subscriptions_bytes", GAUGE, "What they take, about.", ("subscription_bytes",)),
)
_PARAMS = (
    Family("clasp_edge_params", GAUGE, "Params that are remembered.", ("count",)),
    Family("clasp_edge_params_limit", GAUGE, "state.max_params; 0 is unlimited.", ("max",)),
    Family("clasp_edge_params_bytes", GAUGE, "What their addresses and values take.", ("bytes",)),
    Family("clasp_edge_params_limit_bytes", GAUGE, "state.max_mib; 0 is unlimited.", ("max_bytes",)),
    Family("clasp_edge_params_evicted_total", COUNTER, "Params forgotten for want of room.", ("evicted",)),
    Family("clasp_edge_params_expired_total", COUNTER, "Params forgotten because their time was over.", ("expired",)),
    Family("clasp_edge_announced_signals", GAUGE, "Signal definitions kept for queries.", ("announced_signals",)),
    Family("clasp_edge_scheduled_bundles", GAUGE, "Bundles that wait for their time.", ("scheduled_bundles",)),
)
_MESSAGES = (
    Family("clasp_edge_messages_total", COUNTER, "Accepted writes and publishes.", ("by_signal", "*"), ("signal",)),
    Family("clasp_edge_deliveries_total", COUNTER, "Messages handed to subscribers.", ("deliveries",)),
    Family("clasp_edge_sent_bytes_total", COUNTER, "Bytes written to clients' sockets.", ("sent_bytes",)),
    Family(
        "clasp_edge_superseded_params_total",
        COUNTER,
        "Values a slow client was not sent because a newer one took their place.",
        ("superseded",),
    ),
)
_DROPS = (Family("clasp_edge_dropped_messages_total", COUNTER, "Messages lost, by cause.", ("*",), ("cause",)),)
_ERRORS = (Family("clasp_edge_errors_total", COUNTER, "ERRORs sent to CLASP clients, by code.", ("*",), ("code",)),)
THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")
"""Of a board the processor's, in thousandths of a degree. Other machines may have none."""


def machine() -> dict[str, Any]:
    """What the machine tells of itself: its temperature, where it has a sensor."""
    try:
        return {"temperature_c": int(THERMAL.read_text()) / 1000}
    except (OSError, ValueError):
        return {}


_MACHINE = (
    Family("clasp_edge_machine_temperature_celsius", GAUGE, "Of the processor, where it tells.", ("temperature_c",)),
)

_MEMORY = (
    Family("clasp_edge_resident_memory_bytes", GAUGE, "Resident memory of the process.", ("resident_bytes",)),
    Family("clasp_edge_arena_bytes", GAUGE, "Memory for what waits to be sent.", ("arena_bytes",)),
    Family("clasp_edge_arena_used_bytes", GAUGE, "How much of it is lent out.", ("arena_used_bytes",)),
    Family(
        "clasp_edge_kept_bytes", GAUGE, "What is kept for clients, by kind, about.", ("kept_by_kind", "*"), ("kind",)
    ),
    Family("clasp_edge_kept_limit_bytes", GAUGE, "limits.memory_mib; 0 is unlimited.", ("kept_limit_bytes",)),
    Family("clasp_edge_kept_refused_total", COUNTER, "What found no room on its principal's account.", ("refused",)),
)
_LOOP = (
    Family("clasp_edge_loop_lag_seconds", GAUGE, "How late the event loop was at its last look.", ("lag_s",)),
    Family("clasp_edge_loop_worst_lag_seconds", GAUGE, "The worst of one to two minutes.", ("worst_lag_s",)),
    Family("clasp_edge_loop_passes_total", COUNTER, "Passes over received data.", ("passes",)),
    Family("clasp_edge_cpu_seconds_total", COUNTER, "Processor time of the process.", ("cpu_s",)),
)
