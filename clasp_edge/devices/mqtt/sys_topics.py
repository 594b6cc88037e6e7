"""`$SYS`: the server's own numbers, for whoever subscribes to them, and which bridges are connected. Nothing runs while
nobody does."""

from __future__ import annotations

from asyncio import TimerHandle
from typing import TYPE_CHECKING

from clasp_edge.dataplane.reserved import RESERVED
from clasp_edge.devices.mqtt.bridge_notes import BridgeNotes
from clasp_edge.devices.mqtt.codec import SubscribeFilter
from clasp_edge.devices.mqtt.codec.primitives import put_varint
from clasp_edge.version import __version__
from clasp_edge.wire.pattern import Pattern

if TYPE_CHECKING:
    from clasp_edge.devices.mqtt.server import MqttServer
    from clasp_edge.devices.mqtt.session import Session

SHARE = "$share/"
SYS = "$SYS"
SYS_SCOPE = Pattern(f"{RESERVED.decode()}**".encode())
"""What a token must let its bearer read: the router's own addresses."""

_QOS = 3
_RETAIN_AS_PUBLISHED = 8


class SysTopics:
    """Publishes what has changed, at most once per interval, retained."""

    def __init__(self, server: MqttServer) -> None:
        self._server = server
        self._subscriptions: dict[tuple[Session, str], tuple[int, int]] = {}
        self._timer: TimerHandle | None = None
        self._last: dict[str, bytes] = {}
        self._turn = 0
        # Not in the middle of what the session does.
        self.bridges = BridgeNotes(self._bridges_changed)

    def subscribe(self, session: Session, text: str, options: int, identifier: int) -> None:
        """Add or replace a subscription to a filter that begins with $SYS."""
        self._subscriptions[session, text] = options, identifier
        self._arm()

    def unsubscribe(self, session: Session, text: str) -> None:
        """Take it away."""
        self._subscriptions.pop((session, text), None)
        if not self._subscriptions:
            self.stop()

    def send_retained(self, session: Session, entry: SubscribeFilter, identifiers: bytes | None) -> None:
        """Send the present values to a new subscriber."""
        for topic, payload in (self.values() | self.bridges.values()).items():
            if matches(entry.filter, topic):
                session.offer(topic.encode(), payload, entry.qos, True, identifiers)

    def stop(self) -> None:
        """No more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def values(self) -> dict[str, bytes]:
        """Every topic with its payload, as brokers name them."""
        server = self._server
        context, plane = server.context, server.router.plane
        numbers = {
            "clients/connected": server.connected,
            "clients/disconnected": len(server.sessions) - server.connected,
            "clients/total": len(server.sessions),
            "messages/received": context.received,
            "messages/sent": context.sent,
            "publish/messages/received": context.received,
            "publish/messages/sent": context.sent,
            "publish/messages/dropped": context.dropped,
            "publish/messages/refused": context.refused,
            "bytes/received": context.received_bytes,
            "store/messages/bytes": context.queued,
            "subscriptions/count": plane.trie.size,
            "shared_subscriptions/count": len(server.shared),
            "retained messages/count": plane.params - plane.unretained,
            "uptime": int(server.router.clock.monotonic_s() - server.started_s),
        }
        found = {f"$SYS/broker/{name}": str(number).encode() for name, number in numbers.items()}
        found["$SYS/broker/version"] = f"clasp-edge {__version__}".encode()
        return found

    def _arm(self) -> None:
        interval_s = self._server.config.sys_interval_s
        if self._timer is None and interval_s and self._subscriptions:
            self._timer = self._server.loop.call_later(interval_s, self._publish)

    def _publish(self) -> None:
        self._timer = None
        values = self.values()
        changed = {topic: payload for topic, payload in values.items() if self._last.get(topic) != payload}
        self._last = values
        self._tell(changed)
        self._arm()

    def _bridges_changed(self) -> None:
        self._server.loop.call_soon(self._tell_bridges)

    def _tell_bridges(self) -> None:
        self._tell(self.bridges.due())

    def _tell(self, changed: dict[str, bytes]) -> None:
        core = self._server.router.core
        core.begin_pass()
        self._turn += 1
        for (session, text), (options, identifier) in list(self._subscriptions.items()):
            if not may_read_sys(session):
                continue  # its token may read less than it did
            identifiers = b"\x0b" + put_varint(identifier) if identifier else None
            shown = text
            if text.startswith(SHARE):
                # One of the group gets all of it, in turn [MQTT-4.8.2-4].
                members = [one for one, other in self._subscriptions if other == text and one.connection is not None]
                if not members or session is not members[self._turn % len(members)]:
                    continue
                shown = text.split("/", 2)[2]
            for topic, payload in changed.items():
                if matches(shown, topic):
                    session.offer(
                        topic.encode(), payload, options & _QOS, bool(options & _RETAIN_AS_PUBLISHED), identifiers
                    )
        core.end_pass()


def may_read_sys(session: Session) -> bool:
    """Whether the client's token lets it read the server's numbers. They tell who is here and how busy the show is."""
    return session.scopes is None or session.scopes.covers("read", SYS_SCOPE)


def matches(text: str, topic: str) -> bool:
    """Whether a topic filter takes a topic (5.0, 4.7.1)."""
    wanted, levels = text.split("/"), topic.split("/")
    # `a/#` also takes `a`: there "#" stands where the topic has ended.
    for at, level in enumerate(wanted):
        if level == "#":
            return True
        if at >= len(levels) or level not in ("+", levels[at]):
            return False
    return len(wanted) == len(levels)
