"""`$SYS`: the server's own numbers, for whoever subscribes to them, and which bridges are connected. Nothing runs while
nobody does."""

from __future__ import annotations

from asyncio import TimerHandle
from collections.abc import Iterator
from typing import TYPE_CHECKING

from clasp_edge.callbacks import call_each
from clasp_edge.dataplane.reserved import RESERVED
from clasp_edge.devices.mqtt.bridge_notes import BridgeNotes
from clasp_edge.devices.mqtt.codec import SubscribeFilter
from clasp_edge.devices.mqtt.codec.primitives import put_varint
from clasp_edge.devices.mqtt.sys_load import Loads
from clasp_edge.version import __version__
from clasp_edge.wire.pattern import Pattern

if TYPE_CHECKING:
    from clasp_edge.devices.mqtt.server import MqttServer
    from clasp_edge.devices.mqtt.session import Session

SHARE = "$share/"
SYS = "$SYS"
SYS_SCOPE = Pattern(f"{RESERVED.decode()}**".encode())
"""What a token must let its bearer read: the router's own addresses."""

MATCHES_AT_ONCE = 256
"""Of a filter and a topic, before others get their turn: half a millisecond."""

_QOS = 3
_RETAIN_AS_PUBLISHED = 8


class SysTopics:
    """Publishes what has changed, at most once per interval, retained."""

    def __init__(self, server: MqttServer) -> None:
        self._server = server
        self._subscriptions: dict[tuple[Session, str], tuple[int, int]] = {}
        self._groups: dict[str, dict[Session, tuple[int, int]]] = {}  # of shared ones, by their filter
        self._changed: dict[str, bytes] = {}
        self._telling = False
        self._timer: TimerHandle | None = None
        self._last: dict[str, bytes] = {}
        self._turn = 0
        self._loads = Loads(server.started_s)
        # Not in the middle of what the session does.
        self.bridges = BridgeNotes(self._bridges_changed)

    def subscribe(self, session: Session, text: str, options: int, identifier: int) -> None:
        """Add or replace a subscription to a filter that begins with $SYS."""
        if text.startswith(SHARE):
            self._groups.setdefault(text, {})[session] = options, identifier
        else:
            self._subscriptions[session, text] = options, identifier
        self._arm()

    def unsubscribe(self, session: Session, text: str) -> None:
        """Take it away."""
        self._subscriptions.pop((session, text), None)
        group = self._groups.get(text)
        if group is not None:
            group.pop(session, None)
            if not group:
                del self._groups[text]
        if not self._subscriptions and not self._groups:
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
        sent_bytes = server.sent_bytes
        numbers = {
            "clients/connected": server.connected,
            "clients/active": server.connected,
            "clients/disconnected": len(server.sessions) - server.connected,
            "clients/inactive": len(server.sessions) - server.connected,
            "clients/total": len(server.sessions),
            "clients/maximum": server.most_connected,
            "messages/received": context.received,
            "messages/sent": context.sent,
            "publish/messages/received": context.received,
            "publish/messages/sent": context.sent,
            "publish/messages/dropped": context.dropped,
            "publish/messages/refused": context.refused,
            "bytes/received": context.received_bytes,
            "bytes/sent": sent_bytes,
            "store/messages/bytes": context.queued,
            "subscriptions/count": plane.trie.size,
            "shared_subscriptions/count": len(server.shared),
            "retained messages/count": plane.params - plane.unretained,
        }
        now_s = server.router.clock.monotonic_s()
        counts = {
            "messages/received": context.received,
            "messages/sent": context.sent,
            "publish/received": context.received,
            "publish/sent": context.sent,
            "bytes/received": context.received_bytes,
            "bytes/sent": sent_bytes,
            "connections": server.connects,
        }
        self._loads.note(counts, now_s)
        found = {f"$SYS/broker/{name}": str(number).encode() for name, number in numbers.items()}
        found |= {f"$SYS/broker/load/{name}": text.encode() for name, text in self._loads.topics().items()}
        found["$SYS/broker/uptime"] = f"{now_s - server.started_s:.0f} seconds".encode()
        found["$SYS/broker/version"] = f"clasp-edge {__version__}".encode()
        return found

    def _arm(self) -> None:
        interval_s = self._server.config.sys_interval_s
        wanted = self._subscriptions or self._groups
        if self._timer is None and interval_s and wanted:
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
        """Tell everybody, behind what they are being told."""
        self._changed |= changed
        if not self._telling and self._changed:
            self._telling = True
            self._server.router.core.start_work(self._tell_all())

    def _tell_all(self) -> Iterator[None]:
        """In parts: how many filters there are is up to the clients."""
        try:
            while self._changed:
                changed, self._changed = self._changed, {}
                self._turn += 1
                at_once = max(1, MATCHES_AT_ONCE // len(changed))
                for number, key in enumerate(list(self._subscriptions), 1):
                    call_each((self._tell_one,), key, changed)
                    if number % at_once == 0:
                        yield
                for text in list(self._groups):
                    # One of the group gets all of it, in turn [MQTT-4.8.2-4].
                    members = [one for one in self._groups.get(text, ()) if one.connection is not None]
                    if members:
                        call_each((self._tell_one,), (members[self._turn % len(members)], text), changed)
                    yield
        finally:
            self._telling = False

    def _tell_one(self, key: tuple[Session, str], changed: dict[str, bytes]) -> None:
        session, text = key
        group = self._groups.get(text)
        found = self._subscriptions.get(key) if group is None else group.get(session)
        if found is None or not may_read_sys(session):
            return  # it has left meanwhile, or its token may read less than it did
        options, identifier = found
        identifiers = b"\x0b" + put_varint(identifier) if identifier else None
        shown = text if group is None else text.split("/", 2)[2]
        for topic, payload in changed.items():
            if matches(shown, topic):
                session.offer(
                    topic.encode(), payload, options & _QOS, bool(options & _RETAIN_AS_PUBLISHED), identifiers
                )


def may_read_sys(session: Session) -> bool:
    """Whether the client's token lets it read the server's numbers. They tell who is here and how busy the show is."""
    return session.scopes is None or session.scopes.covers("read", SYS_SCOPE)


def matches(text: str, topic: str) -> bool:
    """Whether a topic filter takes a topic (5.0, 4.7.1)."""
    levels = topic.split("/")
    wanted = text.split("/", len(levels) + 1)  # more levels than that do not match, and need not be looked at
    # `a/#` also takes `a`: there "#" stands where the topic has ended.
    for at, level in enumerate(wanted):
        if level == "#":
            return True
        if at >= len(levels) or level not in ("+", levels[at]):
            return False
    return len(wanted) == len(levels)
