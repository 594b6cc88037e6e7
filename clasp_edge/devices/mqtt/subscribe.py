"""SUBSCRIBE and UNSUBSCRIBE: topic filters become subscriptions in the router's trie (5.0, 3.8 to 3.11 and 4.7)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from clasp_edge.dataplane import Subscription
from clasp_edge.dataplane.account import Charge
from clasp_edge.dataplane.trie import node_bytes, subscription_bytes
from clasp_edge.devices.mqtt.address import check_filter
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
from clasp_edge.devices.mqtt.shared import Key
from clasp_edge.devices.mqtt.sys_topics import SYS, SYS_SCOPE, may_read_sys
from clasp_edge.devices.mqtt.unshown import Unshown, Wanted, tell_retained
from clasp_edge.router.long_message import carry_out_for
from clasp_edge.router.quota import no_subscription
from clasp_edge.router.stored import all_is_stored
from clasp_edge.security.scope import Action, Scopes
from clasp_edge.wire.pattern import Pattern, PatternError, overlap

if TYPE_CHECKING:
    from clasp_edge.devices.mqtt.session import Session

ALL_SIGNALS = 0x1F
FILTERS_AT_ONCE = 8
"""Of one packet before others get their turn: half a millisecond for the deepest."""

SHARE = "$share/"

# Bits of Subscription.options (dataplane/trie.pxd).
_NO_LOCAL = 4
_RETAIN_AS_PUBLISHED = 8

_ALWAYS, _IF_NEW = 0, 1  # retain handling; 2 is never (5.0, 3.8.3.1)


_HELD_BYTES = 300
_COPIES = 3
"""What a filter takes beside its subscription in the trie; its text is there up to so many times."""

MAX_KEPT_FILTER_BYTES = 262_144
"""Of all filters of a session that outlives its connection: they are stored together whenever one changes."""


class Held:
    """One subscription of a session, under its filter. `subscriptions` are those in the trie, one for the namespace and
    one for each mount that the filter takes; a shared one has `groups` in their place. `since` is the last
    record that the journal's log had when it was made; `size` is what it is charged."""

    __slots__ = ("groups", "identifier", "options", "since", "size", "subscriptions")

    def __init__(
        self, options: int, identifier: int, since: int, size: int, subscriptions: Sequence[Subscription] = (),
        groups: Sequence[Key] = (),
    ) -> None:  # fmt: skip
        self.size = size
        self.options = options
        self.identifier = identifier
        self.since = since
        self.subscriptions = subscriptions
        self.groups = groups


def handle_subscribe(session: Session, packet: Subscribe) -> None:
    """Answer SUBACK, then send the retained messages that are asked for."""
    _carry_out(session, "SUBSCRIBE", _subscribe_all(session, packet))


class _Packet:
    """A long packet, as a `router.long_message.Sender`: meanwhile the client's next packets wait."""

    __slots__ = ("_connection", "_session", "pay")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._connection = session.connection
        self.pay = session.pay

    @property
    def closing(self) -> bool:
        return self._session.ended or self._connection is None or self._session.connection is not self._connection

    def hold(self) -> None:
        self._session.occupied = True

    def let_on(self) -> None:
        if self.closing or not self._session.occupied:
            return  # another connection's packets are not held for this one
        self._session.occupied = False
        if self._connection is not None:
            self._connection.resume_input()


def _carry_out(session: Session, kind: str, steps: Iterator[None]) -> None:
    began_s = time.thread_time()
    carry_out_for(_Packet(session), session.server.router.core, _guarded(session, kind, steps))
    session.pay(time.thread_time() - began_s)


def _guarded(session: Session, kind: str, steps: Iterator[None]) -> Iterator[None]:
    """The steps; what goes wrong in one of them is the client's fault, or ours."""
    try:
        yield from steps
    except MqttError as error:
        session.occupied = False
        session.on_fault(error.reason, error.text)
    except Exception:
        session.occupied = False
        session.failed(kind)


def _subscribe_all(session: Session, packet: Subscribe) -> Iterator[None]:
    identifiers = packet.properties.get(Property.SUBSCRIPTION_IDENTIFIER)
    identifier = identifiers[0] if identifiers else 0
    reasons: list[int] = []
    wanted: list[tuple[SubscribeFilter, list[Pattern]]] = []
    text = ""
    for number, entry in enumerate(packet.filters, 1):
        if number % FILTERS_AT_ONCE == 0:
            yield
        try:
            new = entry.filter not in session.subscriptions
            patterns = subscribe(session, entry, identifier)
        except MqttError as error:
            if error.reason == Reason.PROTOCOL_ERROR:
                raise
            if error.reason == Reason.QUOTA_EXCEEDED:
                session.server.subscription_refused(session, error.text)
            if error.reason == Reason.NOT_AUTHORIZED:
                session.note("refused", entry.filter, error.text)
            reasons.append(error.reason if session.version == V5 else SUBACK_FAILURE)
            text = error.text
            continue
        reasons.append(entry.qos)
        handling = entry.retain_handling
        if not entry.filter.startswith(SHARE) and (handling == _ALWAYS or (handling == _IF_NEW and new)):
            wanted.append((entry, patterns))
    properties = session.explained(max(reasons), text) if text else {}
    session.subscriptions_changed()
    session.send(Suback(packet_id=packet.packet_id, reasons=reasons, properties=properties), stored=True)
    encoded = b"\x0b" + put_varint(identifier) if identifier else None
    told = [
        Wanted(session.connection, entry, patterns, session.subscriptions.get(entry.filter), encoded)
        for entry, patterns in wanted
    ]
    if all_is_stored(session.server.router.plane):
        yield from tell_retained(session, told)
    else:
        if session.unshown is None:
            session.unshown = Unshown(session)
        session.unshown.add(told)


def subscribe(session: Session, entry: SubscribeFilter, identifier: int) -> list[Pattern]:
    """Add or replace one subscription [MQTT-3.8.4-3]; returns its patterns, none for topics that begin with `$`.

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
        beyond = no_subscription(server.router.places, session.identity)
        if beyond is not None:
            raise MqttError(Reason.QUOTA_EXCEEDED, f"subscription limit reached ({beyond})")
    full = server.router.no_room_for_subscription(entry.filter in session.subscriptions)
    if full is not None:
        raise MqttError(Reason.QUOTA_EXCEEDED, f"subscription limit reached ({full})")
    size = len(entry.filter.encode())
    others = session.filter_bytes - (size if entry.filter in session.subscriptions else 0)
    if session.keeps and others + size > MAX_KEPT_FILTER_BYTES:
        raise MqttError(Reason.QUOTA_EXCEEDED, f"filters of a kept session have at most {MAX_KEPT_FILTER_BYTES} bytes")
    size = _HELD_BYTES + _COPIES * size
    options = entry.qos
    options |= _NO_LOCAL if entry.no_local else 0
    options |= _RETAIN_AS_PUBLISHED if entry.retain_as_published else 0
    if session.bridge:
        options |= _NO_LOCAL | _RETAIN_AS_PUBLISHED
    before = session.subscriptions.get(entry.filter)
    since = before.since if before is not None else server.last_logged
    if shown.startswith("$"):
        # Nothing in the namespace has such a topic; of $SYS the server itself is the publisher.
        if shown.startswith(SYS) and not may_read_sys(session):
            raise MqttError(Reason.NOT_AUTHORIZED, f"$SYS needs the scope read:{SYS_SCOPE.text.decode()}")
        _charge(session, size)
        drop(session, entry.filter)
        _hold(session, entry.filter, Held(options, identifier, since, size))
        if shown.startswith(SYS):
            server.sys_topics.subscribe(session, entry.filter, options, identifier)
        return []
    try:
        patterns = [Pattern(text) for text in server.patterns_of(shown)]
    except PatternError as error:
        raise MqttError(Reason.TOPIC_FILTER_INVALID, str(error)) from None
    if session.scopes is not None and not any(_readable(session.scopes, pattern) for pattern in patterns):
        raise MqttError(Reason.NOT_AUTHORIZED, "the token does not allow to read any of this")
    # What leads to the namespace is there for all, once.
    size += sum(map(subscription_bytes, patterns)) - server.namespace.count("/") * node_bytes()
    _charge(session, size)
    drop(session, entry.filter)
    if group:
        encoded = b"\x0b" + put_varint(identifier) if identifier else None
        keys = [(group, pattern.text) for pattern in patterns]
        for key, pattern in zip(keys, patterns, strict=True):
            server.shared.join(key, pattern, session, options, encoded)
        _hold(session, entry.filter, Held(options, identifier, since, size, (), keys))
        return patterns
    subscriptions = [Subscription(session, 0, pattern, ALL_SIGNALS, None, options, identifier) for pattern in patterns]
    for subscription in subscriptions:
        server.router.plane.trie.add(subscription)
    _hold(session, entry.filter, Held(options, identifier, since, size, subscriptions))
    return patterns


def _readable(scopes: Scopes, pattern: Pattern) -> bool:
    """Whether the token allows to read anything that the pattern takes; what it does not is left out of deliveries."""
    return any(overlap(pattern, allowed) for allowed in scopes.patterns(Action.READ))


def _hold(session: Session, text: str, held: Held) -> None:
    session.subscriptions[text] = held
    session.filter_bytes += len(text.encode())


def _charge(session: Session, size: int) -> None:
    """Take a subscription's memory from the client's account. Raises MqttError."""
    if not session.holding.charge(size, Charge.SUBSCRIPTIONS):
        full = session.server.router.memory_full()
        raise MqttError(Reason.QUOTA_EXCEEDED, f"subscription limit reached ({full})")


def handle_unsubscribe(session: Session, packet: Unsubscribe) -> None:
    """Answer UNSUBACK; what is on its way may still arrive [MQTT-3.10.4-3]."""
    _carry_out(session, "UNSUBSCRIBE", _unsubscribe_all(session, packet))


def _unsubscribe_all(session: Session, packet: Unsubscribe) -> Iterator[None]:
    reasons = []
    for number, text in enumerate(packet.filters, 1):
        held = session.subscriptions.get(text)
        reasons.append(Reason.SUCCESS if drop(session, text) else Reason.NO_SUBSCRIPTION_EXISTED)
        for subscription in held.subscriptions if held is not None else ():
            session.drop_retained(text, subscription.pattern)  # nothing new is begun [MQTT-3.10.4-2]
        if number % FILTERS_AT_ONCE == 0:
            yield
    session.subscriptions_changed()
    session.send(Unsuback(packet_id=packet.packet_id, reasons=reasons), stored=True)


def drop(session: Session, text: str) -> bool:
    """Take the subscription under this filter away; False if there was none."""
    held = session.subscriptions.pop(text, None)
    if held is None:
        return False
    if session.unshown is not None:
        session.unshown.drop(text)
    session.filter_bytes -= len(text.encode())
    session.holding.release(held.size, Charge.SUBSCRIPTIONS)
    for subscription in held.subscriptions:
        session.server.router.plane.trie.discard(subscription)
    for key in held.groups:
        session.server.shared.leave(key, session, ended=session.ended)
    if text.startswith(SYS) or (text.startswith(SHARE) and text.split("/", 2)[2].startswith(SYS)):
        session.server.sys_topics.unsubscribe(session, text)
    return True


def leave_groups(session: Session) -> Iterator[None]:
    """The session is over: what waited for its shared subscriptions goes to the others. In parts."""
    groups = [text for text, held in session.subscriptions.items() if held.groups]
    for number, text in enumerate(groups, 1):
        drop(session, text)
        if number % FILTERS_AT_ONCE == 0:
            yield


def drop_all(session: Session) -> Iterator[None]:
    """The session is over. In parts."""
    if session.unshown is not None:
        session.unshown.end()
    for number, text in enumerate(list(session.subscriptions), 1):
        drop(session, text)
        if number % FILTERS_AT_ONCE == 0:
            yield
