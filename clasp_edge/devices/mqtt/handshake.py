"""CONNECT and CONNACK: who the client is, what both sides can take, and which session it gets (5.0, 3.1 and 3.2)."""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING, Any

from clasp_edge.dataplane.account import Holding
from clasp_edge.devices.daemon import DAEMON_ID, VIA
from clasp_edge.devices.mqtt.bridge_notes import PREFIX as BRIDGE_NOTES
from clasp_edge.devices.mqtt.codec import Connack, Connect, MqttError, Property, Reason, Will, decode, encode
from clasp_edge.devices.mqtt.codec.reason import connect_return
from clasp_edge.devices.mqtt.codec.types import V5, V311, PacketType
from clasp_edge.devices.mqtt.session import NO_LIMIT, Session
from clasp_edge.devices.mqtt.will import PendingWill
from clasp_edge.router.access import Identity, Refused
from clasp_edge.router.principal import host_of, may_administrate
from clasp_edge.router.quota import no_session, share_anew
from clasp_edge.wire import ErrorCode

if TYPE_CHECKING:
    from clasp_edge.devices.mqtt.connection import Connection

log = logging.getLogger("clasp_edge.mqtt")

MAX_CLIENT_ID_BYTES = 256
"""Ten times what every client may use (3.1.1, 3.1.3.1): a session is remembered by it."""

TOPIC_ALIASES_IN = 64
TOPIC_ALIASES_OUT = 64
"""Aliases per connection and direction: each costs us the topic's bytes."""

NEVER = 0xFFFFFFFF


FOREIGN = "the client identifier is somebody else's"


class Refusal(MqttError):
    """The connection is not accepted."""

    def __init__(self, reason: Reason, text: str, version: int | None = None) -> None:
        super().__init__(reason, text)
        self.version = version


def refusal_of(refusal: Refusal, body: bytes) -> bytes:
    """The CONNACK that says no, or nothing where the client's version has no word for it."""
    version = refusal.version if refusal.version is not None else _spoken_version(body)
    if version is None:
        return b""
    if version == V5:
        return encode(Connack(reason=refusal.reason, properties={Property.REASON_STRING: refusal.text}), V5)
    code = connect_return(refusal.reason)
    return encode(Connack(reason=code), V311) if code is not None else b""


def _spoken_version(body: bytes) -> int | None:
    """The protocol level of a CONNECT that could not be read, if it gets that far and speaks MQTT at all."""
    size = int.from_bytes(body[:2], "big")
    if body[2 : 2 + size] not in (b"MQTT", b"MQIsdp") or len(body) <= 2 + size:
        return None
    return body[2 + size]


def open_session(connection: Connection, body: bytes) -> None:
    """Give the connection its session and answer CONNACK; where a password has to be checked first, later. Raises
    Refusal."""
    try:
        packet = decode(PacketType.CONNECT << 4, body, V311)
    except MqttError as error:
        raise Refusal(error.reason, error.text) from None
    assert isinstance(packet, Connect)
    authenticator = connection.server.router.authenticator
    name, password = packet.username, packet.password
    _check_client_id(packet)  # before anything is kept under it
    if authenticator is not None and name and password is not None and authenticator.takes_password(name, password):
        connection.await_login()

        def then(result: Identity | Refused) -> None:
            connection.login_known(body, lambda: _greet(connection, body, packet, _known(result, packet)))

        authenticator.check_password(name, password, packet.client_id, connection.remote, then)
        return
    _greet(connection, body, packet, None)


def _check_client_id(packet: Connect) -> None:
    if len(packet.client_id.encode()) > MAX_CLIENT_ID_BYTES:
        text = f"a client identifier has at most {MAX_CLIENT_ID_BYTES} bytes"
        raise Refusal(Reason.CLIENT_IDENTIFIER_NOT_VALID, text, packet.version)


def _known(result: Identity | Refused, packet: Connect) -> Identity:
    if isinstance(result, Refused):
        busy = result.code == ErrorCode.RATE_LIMITED
        reason = Reason.SERVER_BUSY if busy else Reason.BAD_USER_NAME_OR_PASSWORD
        raise Refusal(reason, result.text, packet.version)
    return result


def _greet(connection: Connection, body: bytes, packet: Connect, identity: Identity | None) -> None:
    """`identity`: who has shown a password; None where the packet has to tell. Raises Refusal."""
    server = connection.server
    try:
        before = _busy(connection, packet, identity)
        if before is not None:
            connection.wait_for(before, body, lambda: _greet(connection, body, packet, identity))
            return
        session = _admit(connection, packet, identity)
    except MqttError as error:
        raise Refusal(error.reason, error.text, packet.version) from None
    assert connection.session is session
    log.info("%r: connected (%s)", session, "5.0" if packet.version == V5 else "3.1.1")
    server.after_connect()


def _busy(connection: Connection, packet: Connect, identity: Identity | None) -> Connection | None:
    """The client's earlier connection, if what came over it still waits. Only whoever may take over the session is told
    to wait: raises MqttError."""
    server = connection.server
    before = server.sessions.get(packet.client_id)
    if before is None or before.connection is None or not before.connection.input_waits:
        return None
    if server.foreign(before, identity if identity is not None else _identify(connection, packet)):
        raise MqttError(Reason.CLIENT_IDENTIFIER_NOT_VALID, FOREIGN)
    return before.connection  # None if its owner's token has ended meanwhile


def _admit(connection: Connection, packet: Connect, identity: Identity | None) -> Session:
    server = connection.server
    router = server.router
    if Property.AUTHENTICATION_METHOD in packet.properties:
        raise MqttError(Reason.BAD_AUTHENTICATION_METHOD, "enhanced authentication is not offered")
    if packet.will is not None:
        _check_will(connection, packet.will)
    client_id = packet.client_id
    assigned = not client_id
    if assigned:
        if packet.version != V5 and not packet.clean_start:
            raise MqttError(Reason.CLIENT_IDENTIFIER_NOT_VALID, "a kept session needs a client identifier")
        client_id = f"auto-{uuid.uuid4().hex}"
    if identity is None:
        identity = _identify(connection, packet)
    account = router.account_of(host_of(connection.remote), identity)
    session = server.sessions.get(client_id)
    if session is not None and session.is_ghost:
        session.revive()
        session = None
    if session is not None and server.foreign(session, identity):
        raise MqttError(Reason.CLIENT_IDENTIFIER_NOT_VALID, FOREIGN)
    session = server.sessions.get(client_id)  # its owner's token may have ended it
    host = host_of(connection.remote)
    admin = may_administrate(identity)
    connected = session is not None and session.connection is not None
    if not connected and not router.places.open_to(account.principal, host, admin=admin):
        raise MqttError(Reason.SERVER_BUSY, "too many sessions")
    beyond = None if connected else no_session(router.places, identity)
    if beyond is not None:
        raise MqttError(Reason.QUOTA_EXCEEDED, beyond)
    will = None
    if packet.will is not None:
        will = PendingWill(packet.will, Holding(account))
        if not will.charge():
            raise MqttError(Reason.QUOTA_EXCEEDED, f"no room for the will: {router.memory_full()}")
    if session is not None:
        if session.connection is not None:
            said = server.take_overs.happened(client_id, session.connection.remote, connection.remote)
            if said is not None:
                log.warning("%r: %s", session, said)
        session.taken_over()
        if packet.clean_start:
            session.end()
            session = None
    # `end` and `taken_over` may have published a will and dropped the session.
    session = server.sessions.get(client_id) if session is not None else None
    present = session is not None
    if session is None:
        session = server.new_session(client_id, account)
    session.holding.move(account)
    expiry_s = _expiry(packet, server.config.max_session_expiry_s)
    session.identify(identity)
    router.places.take(session, "mqtt", account.principal, host, admin=admin)
    session.begin(connection, packet, expiry_s)
    share_anew(router.places, identity)
    session.bridge = packet.bridge or (will is not None and will.will.topic.startswith(BRIDGE_NOTES))
    session.repeats = packet.flagless
    session.will = will
    if will is not None:
        session.changed()
    if identity is not None:
        session.note("login")
    session.attach(connection.fileno(), packet.version, connection.websocket, _aliases_out(packet))
    answer: dict[int, Any] = {}
    if packet.version == V5:
        answer = _announced(server.config.max_inflight, server.max_packet)
        if assigned:
            answer[Property.ASSIGNED_CLIENT_IDENTIFIER] = client_id
        if packet.properties.get(Property.SESSION_EXPIRY_INTERVAL, 0) != expiry_s:
            answer[Property.SESSION_EXPIRY_INTERVAL] = expiry_s
        if any(name == VIA for name, _ in packet.properties.get(Property.USER_PROPERTY, ())):
            answer[Property.USER_PROPERTY] = [(VIA, DAEMON_ID)]
    connection.session = session
    session.send(Connack(session_present=present and not packet.flagless, properties=answer))
    session.continue_sending()
    return session


def _check_will(connection: Connection, will: Will) -> None:
    """A will that could never be published is refused now [MQTT-3.3.2-2; 5.0, 4.7.2]."""
    topic = will.topic.encode()
    if will.topic.startswith(BRIDGE_NOTES):
        return
    if topic.startswith(b"$") or not connection.server.usable_topic(topic):
        raise MqttError(Reason.TOPIC_NAME_INVALID, f"will topic {will.topic[:64]!r} cannot be published to")


def _announced(receive_maximum: int, max_packet: int) -> dict[int, Any]:
    return {
        Property.RECEIVE_MAXIMUM: receive_maximum,
        Property.MAXIMUM_PACKET_SIZE: max_packet,
        Property.TOPIC_ALIAS_MAXIMUM: TOPIC_ALIASES_IN,
    }


def _aliases_out(packet: Connect) -> int:
    return min(int(packet.properties.get(Property.TOPIC_ALIAS_MAXIMUM, 0)), TOPIC_ALIASES_OUT)


def _expiry(packet: Connect, longest_s: int) -> int:
    """How long the session outlives its connection, in seconds. A 3.1.1 client cannot say: as long as possible."""
    if packet.version == V5:
        return min(int(packet.properties.get(Property.SESSION_EXPIRY_INTERVAL, 0)), longest_s)
    return 0 if packet.clean_start else longest_s


def peer_limits(packet: Connect, max_inflight: int) -> tuple[int, int]:
    """Window and largest packet towards this client."""
    window = min(int(packet.properties.get(Property.RECEIVE_MAXIMUM, 0xFFFF)), max_inflight)
    return window, int(packet.properties.get(Property.MAXIMUM_PACKET_SIZE, NO_LIMIT))


def _identify(connection: Connection, packet: Connect) -> Identity | None:
    """In authenticated mode the password is a token, or the user name of a client that sends nothing else."""
    authenticator = connection.server.router.authenticator
    if authenticator is None:
        return None
    if packet.password is None:
        shown = authenticator.of_certificate(connection.remote)
        if shown is not None:
            return shown
    if packet.password is None and not packet.username:
        here = authenticator.of_network("mqtt", host_of(connection.remote))
        if here is not None:
            return here
    try:
        token = packet.password.decode() if packet.password is not None else packet.username or ""
    except UnicodeDecodeError:
        raise MqttError(Reason.BAD_USER_NAME_OR_PASSWORD, "the password is not a token") from None
    try:
        return authenticator.validate(token, connection.remote)
    except Refused as refused:
        if not token or refused.code == ErrorCode.TOKEN_EXPIRED:
            raise MqttError(Reason.NOT_AUTHORIZED, refused.text) from None
        raise MqttError(Reason.BAD_USER_NAME_OR_PASSWORD, refused.text) from None
