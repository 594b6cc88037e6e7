"""Every packet survives its encoding; whatever is no packet is refused with a reason, and never anything else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.devices.mqtt.codec import (
    Ack,
    Auth,
    Connack,
    Connect,
    Disconnect,
    MqttError,
    Packet,
    PacketType,
    Pingreq,
    Pingresp,
    Property,
    Publish,
    Reason,
    Suback,
    Subscribe,
    SubscribeFilter,
    Unsuback,
    Unsubscribe,
    Will,
    decode,
    encode,
)
from clasp_edge.devices.mqtt.codec.decoder import MAX_FILTERS, READ_AT_ONCE
from clasp_edge.devices.mqtt.codec.properties import _TABLE, WILL
from clasp_edge.devices.mqtt.codec.types import V5, V311

ids = st.integers(1, 0xFFFF)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
topics = st.text(st.characters(exclude_characters="\0+#", exclude_categories=["Cs"]), min_size=1, max_size=20)
binary = st.binary(max_size=20)
versions = st.sampled_from([V311, V5])


def property_values(number: int, kind: int | str) -> st.SearchStrategy[Any]:
    lowest = 1 if number in (Property.RECEIVE_MAXIMUM, Property.MAXIMUM_PACKET_SIZE) else 0
    if kind == 1:
        return st.integers(0, 1)
    if isinstance(kind, int):
        return st.integers(lowest, 256**kind - 1)
    if kind == "varint":
        return st.lists(st.integers(1, 268_435_455), min_size=1, max_size=1)
    if kind == "binary":
        return binary
    if kind == "text":
        return texts
    return st.lists(st.tuples(texts, texts), min_size=1, max_size=3)


def properties(packet: int) -> st.SearchStrategy[dict[int, Any]]:
    fitting = {int(n): property_values(n, kind) for n, (kind, packets) in _TABLE.items() if packet in packets}
    return st.fixed_dictionaries({}, optional=fitting)


def of_version(version: int, packet: int) -> st.SearchStrategy[dict[int, Any]]:
    return properties(packet) if version == V5 else st.just({})


@st.composite
def connects(draw: st.DrawFn, version: int) -> Connect:
    will = None
    if draw(st.booleans()):
        will = Will(
            topic=draw(topics),
            payload=draw(binary),
            qos=draw(st.integers(0, 2)),
            retain=draw(st.booleans()),
            properties=draw(of_version(version, WILL)),
        )
    found = draw(of_version(version, PacketType.CONNECT))
    if Property.AUTHENTICATION_DATA in found:
        found.setdefault(Property.AUTHENTICATION_METHOD, "m")
    username = draw(st.none() | texts)
    password = draw(st.none() | binary) if username is not None or version == V5 else None
    return Connect(
        client_id=draw(texts),
        version=version,
        clean_start=draw(st.booleans()),
        keep_alive_s=draw(st.integers(0, 0xFFFF)),
        username=username,
        password=password,
        will=will,
        properties=found,
    )


@st.composite
def publishes(draw: st.DrawFn, version: int) -> Publish:
    qos = draw(st.integers(0, 2))
    return Publish(
        topic=draw(topics),
        payload=draw(binary),
        qos=qos,
        retain=draw(st.booleans()),
        dup=bool(qos) and draw(st.booleans()),
        packet_id=draw(ids) if qos else 0,
        properties=draw(of_version(version, PacketType.PUBLISH)),
    )


@st.composite
def subscribes(draw: st.DrawFn, version: int) -> Subscribe:
    v5 = version == V5
    entries = st.builds(
        SubscribeFilter,
        filter=texts,
        qos=st.integers(0, 2),
        no_local=st.booleans() if v5 else st.just(False),
        retain_as_published=st.booleans() if v5 else st.just(False),
        retain_handling=st.integers(0, 2) if v5 else st.just(0),
    )
    return Subscribe(
        packet_id=draw(ids),
        filters=draw(st.lists(entries, min_size=1, max_size=4)),
        properties=draw(of_version(version, PacketType.SUBSCRIBE)),
    )


def others(version: int) -> st.SearchStrategy[Packet]:
    codes = st.integers(0, 255) if version == V5 else st.just(0)
    lists = st.lists(st.integers(0, 255), max_size=4)
    acks = [
        st.builds(Ack, type=st.just(kind), packet_id=ids, reason=codes, properties=of_version(version, kind))
        for kind in (PacketType.PUBACK, PacketType.PUBREC, PacketType.PUBREL, PacketType.PUBCOMP)
    ]
    found: list[st.SearchStrategy[Any]] = [
        *acks,
        st.builds(
            Connack,
            session_present=st.booleans(),
            reason=st.integers(0, 255),
            properties=of_version(version, PacketType.CONNACK),
        ),
        st.builds(Suback, packet_id=ids, reasons=lists, properties=of_version(version, PacketType.SUBACK)),
        st.builds(
            Unsubscribe,
            packet_id=ids,
            filters=st.lists(texts, min_size=1, max_size=3),
            properties=of_version(version, PacketType.UNSUBSCRIBE),
        ),
        st.builds(
            Unsuback,
            packet_id=ids,
            reasons=lists if version == V5 else st.just([]),
            properties=of_version(version, PacketType.UNSUBACK),
        ),
        st.builds(Disconnect, reason=codes, properties=of_version(version, PacketType.DISCONNECT)),
        st.just(Pingreq()),
        st.just(Pingresp()),
    ]
    if version == V5:
        found.append(st.builds(Auth, reason=codes, properties=properties(PacketType.AUTH)))
    return st.one_of(found)


@st.composite
def packets(draw: st.DrawFn) -> tuple[Packet, int]:
    version = draw(versions)
    kinds = [connects(version), publishes(version), subscribes(version), others(version)]
    return draw(st.one_of(kinds)), version


def split(data: bytes) -> tuple[int, bytes]:
    """First byte and body."""
    at = 1
    while data[at] & 0x80:
        at += 1
    return data[0], data[at + 1 :]


@given(packets())
def test_round_trip(case: tuple[Packet, int]) -> None:
    packet, version = case
    assert decode(*split(encode(packet, version)), version) == packet


@given(packets(), st.data())
def test_a_shortened_packet_is_refused_or_another_packet(case: tuple[Packet, int], data: st.DataObject) -> None:
    packet, version = case
    first, body = split(encode(packet, version))
    cut = body[: data.draw(st.integers(0, max(0, len(body) - 1)))]
    try:
        again = decode(first, cut, version)
    except MqttError as error:
        assert error.reason >= Reason.UNSPECIFIED
    else:
        assert again != packet or cut == body


@given(packets(), st.data())
def test_a_changed_byte_does_no_harm(case: tuple[Packet, int], data: st.DataObject) -> None:
    packet, version = case
    whole = bytearray(encode(packet, version))
    first, body = split(bytes(whole))
    changed = bytearray(body)
    if changed:
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(first, bytes(changed), version)
    except MqttError as error:
        assert error.text


@given(st.integers(0, 255), st.binary(max_size=60), versions)
def test_noise_does_no_harm(first: int, body: bytes, version: int) -> None:
    try:
        decode(first, body, version)
    except MqttError as error:
        assert error.reason >= Reason.UNSPECIFIED


@pytest.mark.parametrize(
    ("first", "body", "version", "reason"),
    [
        pytest.param(0x00, b"", V5, Reason.MALFORMED_PACKET, id="type 0"),
        pytest.param(0xF0, b"", V311, Reason.MALFORMED_PACKET, id="AUTH in 3.1.1"),
        pytest.param(0xC1, b"", V5, Reason.MALFORMED_PACKET, id="flags of PINGREQ"),
        pytest.param(0x80, b"\0\1\0\0\1a\0", V5, Reason.MALFORMED_PACKET, id="flags of SUBSCRIBE"),
        pytest.param(0xC0, b"x", V5, Reason.MALFORMED_PACKET, id="body of PINGREQ"),
        pytest.param(0x36, b"\0\1a\0\1\0", V5, Reason.MALFORMED_PACKET, id="QoS 3"),
        pytest.param(0x38, b"\0\1a\0", V5, Reason.MALFORMED_PACKET, id="DUP with QoS 0"),
        pytest.param(0x30, b"\0\1+\0", V5, Reason.TOPIC_NAME_INVALID, id="wildcard in a topic"),
        pytest.param(0x30, b"\0\0\0", V5, Reason.TOPIC_NAME_INVALID, id="no topic, no alias"),
        pytest.param(0x30, b"\0\2\xc3\x28\0", V5, Reason.MALFORMED_PACKET, id="topic not UTF-8"),
        pytest.param(0x30, b"\0\1\0\0", V5, Reason.MALFORMED_PACKET, id="U+0000 in a topic"),
        pytest.param(0x32, b"\0\1a\0\0\0", V5, Reason.PROTOCOL_ERROR, id="packet identifier 0"),
        pytest.param(0x30, b"\0\1a\x02\x26", V5, Reason.MALFORMED_PACKET, id="properties longer than the packet"),
        pytest.param(0x30, b"\0\1a\x80\0", V5, Reason.MALFORMED_PACKET, id="varint not in its shortest form"),
        pytest.param(0x30, b"\0\1a\x04\1\0\1\0", V5, Reason.PROTOCOL_ERROR, id="property twice"),
        pytest.param(0x30, b"\0\1a\x02\x7f\0", V5, Reason.MALFORMED_PACKET, id="property nobody knows"),
        pytest.param(0x30, b"\0\1a\x03\x21\0\1", V5, Reason.PROTOCOL_ERROR, id="property of another packet"),
        pytest.param(0x82, b"\0\1\0", V5, Reason.PROTOCOL_ERROR, id="SUBSCRIBE to nothing"),
        pytest.param(0x82, b"\0\1\0\0\1a\x30", V5, Reason.PROTOCOL_ERROR, id="retain handling 3"),
        pytest.param(0x82, b"\0\1\0\0\1a\x40", V5, Reason.MALFORMED_PACKET, id="reserved subscription option"),
        pytest.param(0x82, b"\0\1\0\1a\x04", V311, Reason.MALFORMED_PACKET, id="no-local in 3.1.1"),
        pytest.param(0x82, b"\0\1\2\x0b\0\0\1a\0", V5, Reason.PROTOCOL_ERROR, id="subscription identifier 0"),
        pytest.param(0xA2, b"\0\1", V311, Reason.PROTOCOL_ERROR, id="UNSUBSCRIBE from nothing"),
        pytest.param(0x10, b"\0\4MQTT\3\2\0\0\0\0", V5, Reason.UNSUPPORTED_PROTOCOL_VERSION, id="level 3"),
        pytest.param(0x10, b"\0\4MQTT\4\3\0\0\0\0", V5, Reason.MALFORMED_PACKET, id="reserved connect flag"),
        pytest.param(0x10, b"\0\4MQTT\4\x0a\0\0\0\0", V5, Reason.MALFORMED_PACKET, id="will QoS without a will"),
        pytest.param(
            0x10,
            b"\0\4MQTT\5\2\0\0\x85\5" + b"\x26\0\0\0\0" * 129 + b"\0\1x",
            V5,
            Reason.QUOTA_EXCEEDED,
            id="CONNECT with many user properties",
        ),
        pytest.param(0x10, b"\0\4MQTT\4\x42\0\0\0\0\0\0", V5, Reason.MALFORMED_PACKET, id="password without user"),
    ],
)
def test_what_breaks_a_rule_is_refused(first: int, body: bytes, version: int, reason: Reason) -> None:
    with pytest.raises(MqttError) as caught:
        decode(first, body, version)
    assert caught.value.reason == reason


@pytest.mark.parametrize(("first", "options"), [(0x82, b"\0"), (0xA2, b"")])
def test_the_filters_of_a_long_packet_are_read_as_they_are_asked_for(first: int, options: bytes) -> None:
    def packet(number: int, last: bytes = b"") -> list[Any]:
        found = decode(first, b"\0\1" + b"".join(b"\0\5%05d" % at + options for at in range(number)) + last, V311)
        assert isinstance(found, Subscribe | Unsubscribe)
        return [entry if isinstance(entry, str) else entry.filter for entry in found.filters]

    for number in (READ_AT_ONCE - 1, READ_AT_ONCE, READ_AT_ONCE + 1, MAX_FILTERS):
        assert packet(number) == [f"{at:05}" for at in range(number)]
    for number, last, reason in (
        (READ_AT_ONCE, b"\0\1", Reason.MALFORMED_PACKET),
        (READ_AT_ONCE, b"\0\1\xff" + options, Reason.MALFORMED_PACKET),
        (MAX_FILTERS + 1, b"", Reason.QUOTA_EXCEEDED),
    ):
        with pytest.raises(MqttError) as caught:
            packet(number, last)
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    "packet", [Ack(type=PacketType.PUBACK, packet_id=0), Ack(type=PacketType.PUBACK, packet_id=70000)]
)
def test_no_packet_identifier_out_of_range_is_written(packet: Packet) -> None:
    with pytest.raises(ValueError, match="packet identifier"):
        encode(packet, V5)
