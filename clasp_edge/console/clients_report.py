"""Who is connected, one by one: CLASP clients and routers, MQTT clients with their kept sessions; how one is kicked.

Made when somebody asks, from what each session keeps anyway. Imported then. Rates are the asker's business: it asks
twice and takes the differences of `received` and `sent_bytes`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from clasp_edge.console.requests import Refused
from clasp_edge.dataplane import Framing
from clasp_edge.router.link import CloseCode
from clasp_edge.router.router import Router
from clasp_edge.router.session import Session

if TYPE_CHECKING:
    from clasp_edge.devices.mqtt.server import MqttServer
    from clasp_edge.devices.mqtt.session import Session as MqttSession

MOST_CLIENTS = 1000
"""Described one by one."""

DESCRIBED_AT_ONCE = 32
"""Before others get their turn: half a millisecond."""

MOST_PATTERNS = 20
"""Of one client."""

MOST_TEXT = 200
"""Characters of a name or a pattern."""

KICKED = "closed by the operator"

_TRANSPORTS = {Framing.WS: "websocket", Framing.TCP: "tcp", Framing.QUIC: "quic"}


class Clients:
    """Handles the requests `clients` and `kick`. `mqtt()` is the MQTT server, if there is one."""

    def __init__(self, router: Router, mqtt: Callable[[], MqttServer | None]) -> None:
        self._router = router
        self._mqtt = mqtt

    def clients(self, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """`{"clients": [...], "count": how many there are, "refusals": [...]}`; those of MQTT that are away have no
        address."""
        steps = self.in_parts()
        while True:
            try:
                next(steps)
            except StopIteration as made:
                report: dict[str, Any] = made.value
                return report

    def in_parts(self) -> Generator[None, None, dict[str, Any]]:
        """The same, while others get their turn. Who leaves meanwhile is shown as it was."""
        sessions = list(self._router.sessions.values())
        server = self._mqtt()
        kept = list(server.sessions.values()) if server is not None else []
        shown: list[dict[str, Any]] = []
        for session in sessions[:MOST_CLIENTS]:
            shown.append(self._clasp(session))
            if len(shown) % DESCRIBED_AT_ONCE == 0:
                yield
        for device in kept[: MOST_CLIENTS - len(shown)]:
            shown.append(self._mqtt_client(device))
            if len(shown) % DESCRIBED_AT_ONCE == 0:
                yield
        return {"clients": shown, "count": len(sessions) + len(kept), "refusals": self._refusals()}

    def _refusals(self) -> list[dict[str, Any]]:
        """The last ERRORs to clients, the newest first."""
        return [
            {"time": at_us / 1e6, "name": name[:MOST_TEXT], "address": address, "code": code, "text": text[:MOST_TEXT]}
            for (name, address, code, text), at_us in reversed(self._router.refusals.items())
        ]

    def kick(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Close a client's connection: `{"request": "kick", "id": ID}`, ID as `clients` has it, the beginning of one
        that is unique, or a name that only one client has."""
        wanted = request.get("id")
        if not isinstance(wanted, str) or not wanted:
            raise Refused("bad-request", 'kick needs "id": a client of `clasp-edge clients`')
        server = self._mqtt()
        clasp = list(self._router.sessions.values())
        devices = [] if server is None else [one for one in server.sessions.values() if one.connection is not None]
        found: list[Session | MqttSession] = [one for one in clasp if one.id == wanted]
        found += [one for one in devices if f"mqtt:{one.client_id}" == wanted]
        if not found:
            found = [one for one in clasp if one.id.startswith(wanted) or one.name == wanted]
            found += [one for one in devices if one.client_id == wanted]
        if len(found) != 1:
            what = "no client" if not found else f"{len(found)} clients"
            raise Refused("unknown-client", f'{what} with the id "{wanted[:80]}"; `clasp-edge clients` lists them')
        [session] = found
        if isinstance(session, Session):
            session.close(CloseCode.POLICY_VIOLATION, KICKED)
            return {"id": session.id, "name": session.name}
        from clasp_edge.devices.mqtt.codec import Reason

        session.disconnect(Reason.ADMINISTRATIVE_ACTION, KICKED)
        return {"id": f"mqtt:{session.client_id}", "name": session.client_id}

    def _clasp(self, session: Session) -> dict[str, Any]:
        now_s = self._router.clock.monotonic_s()
        return {
            "id": session.id,
            "name": session.name[:MOST_TEXT],
            "protocol": "clasp",
            "transport": _TRANSPORTS[Framing(session.framing)],
            "address": session.link.remote,
            "subject": session.identity.subject if session.identity is not None else "",
            "features": list(session.features),
            "connected_s": round(now_s - session.connected_s, 1),
            "silent_s": round(max(0, self._router.core.monotonic_us - session.heard_us) / 1e6, 1),
            "received": session.received,
            "sent_bytes": session.sent_bytes,
            "queued_bytes": session.queued_bytes,
            "drops": session.dropped_events + session.dropped_streams,
            "over_rate": session.over_rate,
            "superseded": session.conflated_params,
            "slow": session.pressed,
            "last_error": session.last_error[:MOST_TEXT],
            "subscriptions": _patterns(each.pattern.text for each in session.subscriptions.values()),
            "subscription_count": len(session.subscriptions),
        }

    def _mqtt_client(self, session: MqttSession) -> dict[str, Any]:
        connection = session.connection
        now_us = self._router.clock.wall_us()
        return {
            "id": f"mqtt:{session.client_id}",
            "name": session.client_id[:MOST_TEXT],
            "protocol": "mqtt",
            "version": {4: "3.1.1", 5: "5.0"}.get(session.version, str(session.version)),
            "transport": "" if connection is None else "websocket" if connection.websocket else "tcp",
            "address": "" if connection is None else connection.remote,
            "subject": session.identity.subject if session.identity is not None else "",
            "away_s": round((now_us - session.left_us) / 1e6, 1) if connection is None and session.left_us else 0.0,
            "kept": session.keeps,
            "sent_bytes": session.sent_bytes,
            "queued_bytes": session.queued_bytes,
            "slow": session.pressed,
            "subscriptions": _patterns(name.encode() for name in session.subscriptions),
            "subscription_count": len(session.subscriptions),
        }


def _patterns(texts: Iterable[bytes]) -> list[str]:
    shown: list[str] = []
    for text in texts:
        if len(shown) == MOST_PATTERNS:
            break
        shown.append(text.decode("utf-8", "replace")[:MOST_TEXT])
    return shown
