"""The packets of a connection to a broker, both ways: what is acknowledged, what goes out again, what is refused."""

from __future__ import annotations

import random
from typing import Any

import pytest

from clasp_edge.config.model import BridgeMap
from clasp_edge.devices.mqtt.codec import Ack, MqttError, PacketType, Property, Publish, decode, encode
from clasp_edge.devices.mqtt.codec.types import V5, V311
from clasp_edge.devices.mqtt_bridge.events import NO_EXPIRY, Arrived, Outgoing
from clasp_edge.devices.mqtt_bridge.flow import Flow
from clasp_edge.devices.mqtt_bridge.mapping import Mapping
from clasp_edge.devices.mqtt_bridge.properties import AGAIN, SIGNAL, VERSION, VIA, of_publish
from clasp_edge.devices.mqtt_bridge.queue import Record

MAPPING = Mapping(0, BridgeMap(topic="#", address="/**"))


class End:
    """A flow, and what it has said."""

    def __init__(self, *, mqtt5: bool = True) -> None:
        self.arrived: list[Arrived] = []
        self.done: list[tuple[Record, int]] = []
        self.others: list[tuple[int, bytes]] = []
        self.troubles: list[str] = []
        self.version = V5 if mqtt5 else V311
        self.flow = Flow(
            self.arrived.append,
            lambda record, reason: self.done.append((record, reason)),
            lambda first, body: self.others.append((first, body)),
            self.troubles.append,
        )
        self.flow.begin(mqtt5, False, 256)

    def hear(self, *packets: Any) -> None:
        data = b"".join(encode(packet, self.version) for packet in packets)
        assert self.flow.feed(data, len(data), 1000) == (len(data), 0)

    def say(self, qos: int, payload: bytes = b"x", topic: str = "t") -> Record:
        record = Record(MAPPING, topic, b"/t", None, False, 0.0)
        record.qos = qos
        message = Outgoing(record, payload, qos, False, "event", ("me",), False, 0, False)
        self.flow.publish(record, topic, payload, qos, False, of_publish(message))
        return record

    def said(self) -> list[Any]:
        return packets(self.flow.take_output(), self.version)


def packets(data: bytes, version: int) -> list[Any]:
    found = []
    while data:
        size, at = 0, 1
        while True:
            size |= (data[at] & 0x7F) << 7 * (at - 1)
            at += 1
            if data[at - 1] < 0x80:
                break
        found.append(decode(data[0], data[at : at + size], version))
        data = data[at + size :]
    return found


@pytest.mark.parametrize("mqtt5", [True, False])
@pytest.mark.parametrize("payload", [b"", b"x", b"y" * 200, b"z" * 70_000])
def test_what_goes_out_is_what_the_codec_reads(mqtt5: bool, payload: bytes) -> None:
    end = End(mqtt5=mqtt5)
    for qos in range(3):
        end.say(qos, payload, "a/ü")
    assert [(p.topic, p.payload, p.qos, p.packet_id, p.dup) for p in end.said()] == [
        ("a/ü", payload, qos, qos, False) for qos in range(3)
    ]
    assert list(end.flow.flying) == [1, 2]


def test_each_quality_has_its_acknowledgements() -> None:
    end = End()
    one, two, refused = end.say(1), end.say(2), end.say(2)
    end.said()
    end.hear(Ack(type=PacketType.PUBACK, packet_id=1), Ack(type=PacketType.PUBREC, packet_id=2))
    assert [(p.type, p.packet_id) for p in end.said()] == [(PacketType.PUBREL, 2)]
    assert end.done == [(one, 0)]
    end.hear(
        Ack(type=PacketType.PUBCOMP, packet_id=2),
        Ack(type=PacketType.PUBREC, packet_id=3, reason=0x97, properties={Property.REASON_STRING: "no"}),
        Ack(type=PacketType.PUBACK, packet_id=77),
    )
    assert end.done == [(one, 0), (two, 0), (refused, 0x97)]
    assert end.flow.flying == {}
    assert all(record.packet is None for record in (one, two, refused))


def test_what_was_under_way_goes_out_again_as_the_window_allows() -> None:
    end = End(mqtt5=False)
    records = [end.say(1 + number % 2, b"%d" % number) for number in range(5)]
    end.hear(Ack(type=PacketType.PUBREC, packet_id=2))
    end.flow.lost()
    end.flow.begin(False, True, 3)
    first, released, third = end.said()
    assert (first.dup, first.payload, first.packet_id) == (True, b"0", 1)
    assert (released.type, released.packet_id) == (PacketType.PUBREL, 2)
    assert third.payload == b"2"
    end.hear(Ack(type=PacketType.PUBACK, packet_id=1), Ack(type=PacketType.PUBCOMP, packet_id=2))
    assert [(p.payload, p.dup) for p in end.said()] == [(b"3", True), (b"4", True)]
    assert [record for record, _ in end.done] == records[:2]
    end.flow.begin(False, False, 3)
    assert (end.said(), end.flow.flying) == ([], {})


@pytest.mark.parametrize("mqtt5", [True, False])
def test_what_an_earlier_life_had_under_way_is_released_before_its_identifier_is_used(mqtt5: bool) -> None:
    """The broker has a session of ours, and nobody here knows what it holds: it would take a message under such an
    identifier for the old one, or refuse it."""
    end = End(mqtt5=mqtt5)
    end.flow.begin(mqtt5, False, 256, True)
    once = end.say(1)
    first, second, third = (end.say(2, b"%d" % number) for number in range(3))
    released = PacketType.PUBREL
    assert [(p.packet_id, getattr(p, "type", None)) for p in end.said()] == [
        (1, None), (2, released), (2, None), (3, released), (3, None), (4, released), (4, None)
    ]  # fmt: skip
    end.hear(
        Ack(type=PacketType.PUBACK, packet_id=1),
        Ack(type=PacketType.PUBCOMP, packet_id=2, reason=0x92 if mqtt5 else 0),
        Ack(type=PacketType.PUBREC, packet_id=3),  # of a broker that says nothing to what it does not know
    )
    assert end.done == [(once, 0)], "they have been published, and nothing else"
    assert [(p.type, p.packet_id) for p in end.said()] == [(PacketType.PUBREL, 3)]
    end.hear(Ack(type=PacketType.PUBCOMP, packet_id=3))
    # A connection later what has not been answered is asked for again, and that alone.
    end.flow.lost()
    end.flow.begin(mqtt5, True, 256, True)
    assert [(p.packet_id, getattr(p, "dup", None)) for p in end.said()] == [(2, True), (4, None), (4, True)]
    end.hear(
        Ack(type=PacketType.PUBREC, packet_id=2), Ack(type=PacketType.PUBCOMP, packet_id=2),
        Ack(type=PacketType.PUBCOMP, packet_id=4),
        Ack(type=PacketType.PUBREC, packet_id=4), Ack(type=PacketType.PUBCOMP, packet_id=4),
    )  # fmt: skip
    assert end.done == [(once, 0), (second, 0), (first, 0), (third, 0)]
    for _ in range(65_532):
        end.flow.free_id()
    end.said()
    end.say(2)
    assert [p.packet_id for p in end.said()] == [2], "it is our own now"
    # Nor does a broker hold anything that has no session.
    end.flow.begin(mqtt5, False, 256, False)
    end.say(2)
    assert len(end.said()) == 1


def test_a_packet_identifier_under_way_is_not_used_again() -> None:
    end = End()
    kept = end.say(1)
    for _ in range(65_534):
        end.flow.free_id()
    assert end.flow.free_id() == 2
    assert end.flow.flying == {1: kept}


def test_what_arrives_is_acknowledged_and_twice_is_once() -> None:
    end = End()
    end.hear(
        Publish(topic="a", payload=b"0"),
        Publish(topic="b", payload=b"1", qos=1, packet_id=9, retain=True),
        Publish(topic="c", payload=b"2", qos=2, packet_id=9),
        Publish(topic="c", payload=b"2", qos=2, packet_id=9, dup=True),
        Ack(type=PacketType.PUBREL, packet_id=9),
        Publish(topic="c", payload=b"3", qos=2, packet_id=9),
    )
    assert [(m.topic, m.payload, m.qos, m.retained) for m in end.arrived] == [
        ("a", b"0", 0, False), ("b", b"1", 1, True), ("c", b"2", 2, False), ("c", b"3", 2, False)
    ]  # fmt: skip
    assert [p.type for p in end.said()] == [
        PacketType.PUBACK, PacketType.PUBREC, PacketType.PUBREC, PacketType.PUBCOMP, PacketType.PUBREC
    ]  # fmt: skip


def test_our_properties_are_taken_out_and_the_publishers_stay() -> None:
    end = End()
    users = [("a", "1"), (VIA, "x,,y"), (SIGNAL, "stream"), ("clasp-edge-else", "2"), (VERSION, "42"), (AGAIN, "1")]
    end.hear(
        Publish(
            topic="t",
            payload=b"p",
            properties={
                Property.USER_PROPERTY: users,
                Property.CONTENT_TYPE: "application/octet-stream",
                Property.MESSAGE_EXPIRY_INTERVAL: 7,
            },
        ),
        Publish(topic="t", properties={Property.USER_PROPERTY: [(VERSION, "9" * 20)]}),
        Publish(topic="t"),
    )
    one, far, bare = end.arrived
    kept = b"\x26\0\x01a\0\x011" + b"\x26\0\x0fclasp-edge-else\0\x012" + b"\x03\0\x18application/octet-stream"
    assert one == Arrived("t", b"p", False, "stream", ("x", "y"), True, 42, True, 0, kept, 7)
    assert (far.version, far.properties) == (0, b"")
    assert bare == Arrived("t", b"", False, "", (), False, 0, False, 0, b"", NO_EXPIRY)


def test_a_topic_that_is_none_costs_the_message_and_not_the_connection() -> None:
    end = End(mqtt5=False)
    for topic in (b"\xff", b"a\0b", b"a/#", b"+", b""):
        body = len(topic).to_bytes(2, "big") + topic + b"\0\x05x"
        data = bytes((0x32, len(body))) + body
        assert end.flow.feed(data, len(data), 1) == (len(data), 0)
    assert end.arrived == []
    assert len(end.troubles) == 5
    assert [p.packet_id for p in end.said()] == [5] * 5


@pytest.mark.parametrize(
    "data",
    [
        b"\x36\x05\0\x01a\0\x01",  # QoS 3
        b"\x38\x03\0\x01a",  # DUP with QoS 0
        b"\x32\x05\0\x01a\0\0\0",  # identifier 0
        b"\x30\x01\0",
        b"\x30\x04\0\x09ab",  # the topic is longer than the packet
        b"\x30\x05\0\x01a\x09\0",  # so are the properties
        b"\x30\x07\0\x01a\x03\x23\0\x01",  # a topic alias, which nobody allowed
        b"\x30\x06\0\x01a\x02\x0b\x01",  # a subscription identifier
        b"\x30\xff\xff\xff\xff\x01",
        b"\x90\xff\xff\xff\x7f",  # larger than is taken, and no message
        b"\x40\x01\0",
        b"\x40\x02\0\0",
        b"\x41\x02\0\x01",
        b"\x60\x02\0\x01",  # PUBREL has flags
        b"\x50\x02\0\x01",  # PUBREC of what went out with QoS 1
    ],
)
def test_what_breaks_a_rule_ends_the_connection(data: bytes) -> None:
    end = End()
    end.say(1)
    with pytest.raises(MqttError):
        end.flow.feed(data, len(data), 10)
    assert end.arrived == []
    assert end.done == []


def test_a_bounded_number_is_taken_at_once_and_the_rest_later() -> None:
    end = End()
    data = b"".join(encode(Publish(topic="t", payload=b"%d" % n), V5) for n in range(10)) + b"\x30\x80\x01\0"
    used, needed = end.flow.feed(data, len(data), 4)
    assert (len(end.arrived), end.flow.more, needed) == (4, True, 0)
    rest = data[used:]
    used, needed = end.flow.feed(rest, len(rest), 100)
    assert (len(end.arrived), end.flow.more, needed) == (10, False, 131)
    assert used == len(rest) - 4


def test_a_message_that_is_too_large_is_acknowledged_and_read_past() -> None:
    end = End()
    large = encode(Publish(topic="a/b", payload=bytes(2 << 20), qos=2, packet_id=7), V5)
    data = large + encode(Publish(topic="t", payload=b"next"), V5)
    for at in range(0, len(data), 50_000):
        piece = data[at : at + 50_000]
        assert end.flow.feed(piece, len(piece), 10) == (len(piece), 0)
    assert [message.payload for message in end.arrived] == [b"next"]
    assert [(p.type, p.packet_id) for p in end.said()] == [(PacketType.PUBREC, 7)]
    assert end.troubles == ["a/b: larger than is taken (mqtt.max_packet_kib)"]
    assert end.flow.feed(large, 6, 10) == (0, 65_544)


def test_any_bytes_are_read_or_refused() -> None:
    """Nothing but `MqttError` comes of what a broker may send, and nothing is taken that is not wholly there."""
    seeds = [
        encode(Publish(topic="a/b", payload=b"x", qos=1, packet_id=3,
                       properties={Property.USER_PROPERTY: [(VIA, "x")], Property.CONTENT_TYPE: "t"}), V5),
        encode(Ack(type=PacketType.PUBREC, packet_id=1), V5), encode(Ack(type=PacketType.PUBREL, packet_id=3), V5),
    ]  # fmt: skip
    chance = random.Random(5)
    for _ in range(20_000):
        end = End(mqtt5=chance.random() < 0.8)
        end.say(2)
        data = bytearray(b"".join(chance.choices(seeds, k=3)))
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        del data[chance.randrange(len(data) + 1) :]
        try:
            used, _ = end.flow.feed(data, len(data), 10)
        except MqttError:
            continue
        assert 0 <= used <= len(data)
