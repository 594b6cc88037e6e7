"""A record as the message that it is to a broker, where the payload is the value alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clasp_edge.dataplane.payload import printed_value
from clasp_edge.devices.mqtt_bridge.envelope import VALUE_OF_CLIENT
from clasp_edge.devices.mqtt_bridge.events import CLEARING, NO_EXPIRY, Outgoing, Up
from clasp_edge.devices.mqtt_bridge.exchange import SIGNALS
from clasp_edge.devices.mqtt_bridge.loops import COMES_BACK, ITSELF
from clasp_edge.devices.mqtt_bridge.properties import passed_by
from clasp_edge.devices.mqtt_bridge.queue import Message, Record
from clasp_edge.devices.mqtt_bridge.said import said
from clasp_edge.devices.values import payload_of
from clasp_edge.wire import SignalType, Ttl, TtlMode, ValueType, decode_value

if TYPE_CHECKING:
    from clasp_edge.devices.mqtt_bridge.bridge import Bridge

EMPTY_TEXT = b'""'
NO_BYTES = b"\0\0"
"""A value of bytes without any (wire.md 2.2). Of a param it goes out as the empty text, and comes back as that."""


def plain_message(bridge: Bridge, record: Record, up: Up) -> Outgoing | None:
    """The message for a record; None for what has no value (any more)."""
    signal: int = SignalType.PARAM if record.is_param else SignalType.EVENT
    binary = False
    config = record.mapping.config
    message = record.message
    if record.frame is not None:
        found = said(record.frame)
        if found is None:
            return None
        signal, code, data, ttl_word = found
        binary = code == ValueType.BYTES and not (record.is_param and data == NO_BYTES)
        expiry_s = NO_EXPIRY
        if ttl_word >= 0 and (ttl := Ttl.from_word(ttl_word)).mode is TtlMode.ABSOLUTE:
            expiry_s = ttl.seconds
        # An empty retained message would make the broker forget the topic.
        payload = printed_value(code, data) if code != VALUE_OF_CLIENT else data
        message = payload or (EMPTY_TEXT if record.is_param else b""), b"", expiry_s, 1, record.is_param
    elif message is None:
        message = bridge.retained(record.address) or _unretained(bridge, record.address)
        if message is None:
            if not record.is_param or record.again or not config.retain:
                return None
            message = CLEARING  # its time is over: what the broker has of it is older still
        described = bridge.plane.describe(record.address)
        binary = described is not None and described[1] == ValueType.BYTES and described[2] != NO_BYTES
    payload, properties, expiry_s, _, retained = message
    via = record.via
    if properties and not via:
        # It may have come from a bridge, whose broker is this router's own MQTT server.
        via, properties = passed_by(properties)
    if bridge.has_passed(via) or up.daemon == bridge.daemon_id:
        bridge.trouble(COMES_BACK if up.daemon != bridge.daemon_id else ITSELF)
        return None
    if up.daemon and up.daemon in via:
        return None  # it has come from there
    if expiry_s != NO_EXPIRY:
        expiry_s -= int(bridge.monotonic_s() - record.born_s) if record.frame or record.message else 0
        if expiry_s <= 0:
            if not (record.is_param and retained and config.retain):
                return None
            # Nor is what was there before it.
            payload, properties, expiry_s, binary = b"", b"", NO_EXPIRY, False
    version = 0
    if record.is_param:
        version = bridge.versions.known(record.address) if record.again else 0
        version = version or bridge.versions.next(record.address, bridge.wall_ms())
    retain = retained and config.retain and record.is_param and up.retains
    if retain and not up.mqtt5:
        bridge.expiries.sent(record.address, expiry_s if payload and expiry_s != NO_EXPIRY else None)
    return Outgoing(
        record,
        payload,
        record.qos,
        retain,
        SIGNALS[signal],
        (*via, bridge.daemon_id) if via else bridge.via,
        binary,
        version,
        record.again,
        properties,
        expiry_s,
    )


def _unretained(bridge: Bridge, address: bytes) -> Message | None:
    """A param's value that came as an MQTT message without the retain flag, where its own bytes were let go of."""
    described = bridge.plane.describe(address)
    if described is None:
        return None
    return payload_of(decode_value(*described[1:3])), b"", NO_EXPIRY, 1, False
