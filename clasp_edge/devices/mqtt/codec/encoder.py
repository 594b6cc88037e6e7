"""From a packet's data to its bytes, fixed header included. Raises ValueError for what does not fit the format."""

from __future__ import annotations

from clasp_edge.devices.mqtt.codec.packets import (
    Ack,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Publish,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)
from clasp_edge.devices.mqtt.codec.primitives import put_binary, put_text, put_varint
from clasp_edge.devices.mqtt.codec.properties import Properties, put_properties
from clasp_edge.devices.mqtt.codec.types import FIXED_FLAGS, V5, PacketType


def encode(packet: Packet, version: int) -> bytes:
    """The packet as sent to or by a peer of this version (4 or 5)."""
    kind, flags, body = _parts(packet, version)
    return bytes((kind << 4 | flags,)) + put_varint(len(body)) + body


def _parts(packet: Packet, version: int) -> tuple[PacketType, int, bytes]:
    match packet:
        case Publish():
            return PacketType.PUBLISH, packet.dup << 3 | packet.qos << 1 | packet.retain, _publish(packet, version)
        case Ack():
            body = _id(packet.packet_id) + _reason(packet.reason, packet.properties, version)
            return packet.type, FIXED_FLAGS.get(packet.type, 0), body
        case Connack():
            return (
                PacketType.CONNACK,
                0,
                (bytes((packet.session_present, packet.reason)) + _section(packet.properties, version)),
            )
        case Suback():
            body = _id(packet.packet_id) + _section(packet.properties, version) + bytes(packet.reasons)
            return PacketType.SUBACK, 0, body
        case Unsuback():
            body = _id(packet.packet_id)
            if version == V5:
                body += put_properties(packet.properties) + bytes(packet.reasons)
            return PacketType.UNSUBACK, 0, body
        case Pingreq():
            return PacketType.PINGREQ, 0, b""
        case Pingresp():
            return PacketType.PINGRESP, 0, b""
        case Disconnect():
            return PacketType.DISCONNECT, 0, _reason(packet.reason, packet.properties, version)
        case Auth():
            return PacketType.AUTH, 0, _reason(packet.reason, packet.properties, version)
        case Connect():
            return PacketType.CONNECT, 0, _connect(packet)
        case Subscribe():
            return PacketType.SUBSCRIBE, 2, _subscribe(packet, version)
        case Unsubscribe():
            filters = b"".join(put_text(text) for text in packet.filters)
            return PacketType.UNSUBSCRIBE, 2, _id(packet.packet_id) + _section(packet.properties, version) + filters


def _id(packet_id: int) -> bytes:
    if not 1 <= packet_id <= 0xFFFF:
        raise ValueError(f"packet identifier {packet_id}")
    return packet_id.to_bytes(2, "big")


def _section(properties: Properties, version: int) -> bytes:
    return put_properties(properties) if version == V5 else b""


def _reason(reason: int, properties: Properties, version: int) -> bytes:
    if version != V5 or (not reason and not properties):
        return b""
    return bytes((reason,)) + (put_properties(properties) if properties else b"")


def _publish(packet: Publish, version: int) -> bytes:
    packet_id = _id(packet.packet_id) if packet.qos else b""
    return put_text(packet.topic) + packet_id + _section(packet.properties, version) + packet.payload


def _subscribe(packet: Subscribe, version: int) -> bytes:
    body = _id(packet.packet_id) + _section(packet.properties, version)
    for entry in packet.filters:
        options = entry.qos | entry.no_local << 2 | entry.retain_as_published << 3 | entry.retain_handling << 4
        body += put_text(entry.filter) + bytes((options,))
    return body


def _connect(packet: Connect) -> bytes:
    will = packet.will
    flags = packet.clean_start << 1 | (packet.username is not None) << 7 | (packet.password is not None) << 6
    if will is not None:
        flags |= 0x04 | will.qos << 3 | will.retain << 5
    body = (
        put_text("MQTT") + bytes((packet.version | packet.bridge << 7, flags)) + packet.keep_alive_s.to_bytes(2, "big")
    )
    body += _section(packet.properties, packet.version) + put_text(packet.client_id)
    if will is not None:
        body += _section(will.properties, packet.version) + put_text(will.topic) + put_binary(will.payload)
    if packet.username is not None:
        body += put_text(packet.username)
    if packet.password is not None:
        body += put_binary(packet.password)
    return body
