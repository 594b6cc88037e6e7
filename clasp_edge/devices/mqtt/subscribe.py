"""SUBSCRIBE and UNSUBSCRIBE: topic filters become subscriptions in the router's trie (5.0, 3.8 to 3.11 and 4.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clasp_edge.dataplane import Subscription
from clasp_edge.devices.mqtt.address import check_filter, to_pattern
from clasp_edge.devices.mqtt.codec import (
    MqttError,
    Property,
    Reason,
    Suback,
    Subscribe,
    SubscribeFilter,
    Unsuback,
    Unsubscribe,
)
from clasp_edge.devices.mqtt.codec.primitives import put_varint
from clasp_edge.devices.mqtt.codec.reason import SUBACK_FAILURE
from clasp_edge.devices.mqtt.codec.types import V5
from clasp_edge.devices.mqtt.sys_topics import SYS_SCOPE, may_read_sys
from clasp_edge.wire.pattern import Pattern, PatternError

if TYPE_CHECKING:
    from clasp_edge.devices.mqtt.session import Session

ALL_SIGNALS = 0x1F
SHARE = "$share/"
SYS = "$SYS"

# Bits of Subscription.options (dataplane/trie.pxd).
_NO_LOCAL = 4
_RETAIN_AS_PUBLISHED = 8

_ALWAYS, _IF_NEW = 0, 1  # retain handling; 2 is never (5.0, 3.8.3.1)


class Held:
    """One subscription of a session, under its filter. `subscription` is None for what is not in the trie as such.
    `since` is the last record that the journal's log had when it was made."""

    __slots__ = ("group", "identifier", "options", "since", "subscription")

    def __init__(
        self, options: int, identifier: int, since: int, subscription: Subscription | None,
        group: tuple[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.options = options
        self.identifier = identifier
        self.since = since
        self.subscription = subscription
        self.group = group


def handle_subscribe(session: Session, packet: Subscribe) -> None:
    """Answer SUBACK, then send the retained messages that are asked for."""
    identifiers = packet.properties.get(Property.SUBSCRIPTION_IDENTIFIER)
    identifier = identifiers[0] if identifiers else 0
    reasons: list[int] = []
    wanted: list[tuple[SubscribeFilter, Pattern | None]] = []
    text = ""
    for entry in packet.filters:
        try:
            new = entry.filter not in session.subscriptions
            pattern = subscribe(session, entry, identifier)
        except MqttError as error:
            if error.reason == Reason.PROTOCOL_ERROR:
                raise
            reasons.append(error.reason if session.version == V5 else SUBACK_FAILURE)
            text = error.text
            continue
        reasons.append(entry.qos)
        handling = entry.retain_handling
        if not entry.filter.startswith(SHARE) and (handling == _ALWAYS or (handling == _IF_NEW and new)):
            wanted.append((entry, pattern))
    properties = session.explained(max(reasons), text) if text else {}
    session.subscriptions_changed()
    session.send(Suback(packet_id=packet.packet_id, reasons=reasons, properties=properties), stored=True)
    encoded = b"\x0b" + put_varint(identifier) if identifier else None
    for entry, pattern in wanted:
        if pattern is not None:
            session.send_retained(pattern, entry.qos, encoded)
        elif entry.filter.startswith(SYS):
            session.server.sys_topics.send_retained(session, entry, encoded)


def subscribe(session: Session, entry: SubscribeFilter, identifier: int) -> Pattern | None:
    """Add or replace one subscription [MQTT-3.8.4-3]; returns its pattern, None for one outside the namespace.

    Raises MqttError.
    """
    server = session.server
    shown = entry.filter
    group = ""
    if shown.startswith(SHARE):
        if entry.no_local:
            raise MqttError(Reason.PROTOCOL_ERROR, "no-local on a shared subscription")  # [MQTT-3.8.3-4]
        _, group, shown = ([*shown.split("/", 2), "", ""])[:3]
        if not group or "+" in group or "#" in group or not shown:
            raise MqttError(Reason.TOPIC_FILTER_INVALID, f"topic filter {entry.filter[:64]!r}")
    check_filter(shown)
    limits = server.router.config.limits
    if entry.filter not in session.subscriptions:
        limit = limits.max_subscriptions_per_session
        if limit and len(session.subscriptions) >= limit:
            raise MqttError(Reason.QUOTA_EXCEEDED, f"subscription limit reached (max {limit})")
    full = server.router.no_room_for_subscription(entry.filter in session.subscriptions)
    if full is not None:
        raise MqttError(Reason.QUOTA_EXCEEDED, f"subscription limit reached ({full})")
    options = entry.qos
    options |= _NO_LOCAL if entry.no_local else 0
    options |= _RETAIN_AS_PUBLISHED if entry.retain_as_published else 0
    before = session.subscriptions.get(entry.filter)
    since = before.since if before is not None else server.last_logged
    if shown.startswith("$"):
        # Nothing in the namespace has such a topic; of $SYS the server itself is the publisher.
        if shown.startswith(SYS) and not may_read_sys(session):
            raise MqttError(Reason.NOT_AUTHORIZED, f"$SYS needs the scope read:{SYS_SCOPE.text.decode()}")
        drop(session, entry.filter)
        session.subscriptions[entry.filter] = Held(options, identifier, since, None)
        if shown.startswith(SYS) and not group:
            server.sys_topics.subscribe(session, entry.filter, options, identifier)
        return None
    try:
        pattern = Pattern(to_pattern(server.namespace, shown))
    except PatternError as error:
        raise MqttError(Reason.TOPIC_FILTER_INVALID, str(error)) from None
    if session.scopes is not None and not session.scopes.covers("read", pattern):
        raise MqttError(Reason.NOT_AUTHORIZED, "the token does not allow to read all of this")
    drop(session, entry.filter)
    if group:
        key = (group, shown)
        encoded = b"\x0b" + put_varint(identifier) if identifier else None
        server.shared.join(key, pattern, session, options, encoded)
        session.subscriptions[entry.filter] = Held(options, identifier, since, None, key)
        return pattern
    subscription = Subscription(session, 0, pattern, ALL_SIGNALS, None, options, identifier)
    server.router.plane.trie.add(subscription)
    session.subscriptions[entry.filter] = Held(options, identifier, since, subscription)
    return pattern


def handle_unsubscribe(session: Session, packet: Unsubscribe) -> None:
    """Answer UNSUBACK; what is on its way may still arrive [MQTT-3.10.4-3]."""
    reasons = [Reason.SUCCESS if drop(session, text) else Reason.NO_SUBSCRIPTION_EXISTED for text in packet.filters]
    session.subscriptions_changed()
    session.send(Unsuback(packet_id=packet.packet_id, reasons=reasons), stored=True)


def drop(session: Session, text: str) -> bool:
    """Take the subscription under this filter away; False if there was none."""
    held = session.subscriptions.pop(text, None)
    if held is None:
        return False
    if held.subscription is not None:
        session.server.router.plane.trie.discard(held.subscription)
    elif held.group is not None:
        session.server.shared.leave(held.group, session)
    elif text.startswith(SYS):
        session.server.sys_topics.unsubscribe(session, text)
    return True


def drop_all(session: Session) -> None:
    """The session is over."""
    for text in list(session.subscriptions):
        drop(session, text)
