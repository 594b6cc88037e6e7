"""A session by itself, at a broker that says too much."""

from __future__ import annotations

import socket
import struct
import threading
from asyncio import new_event_loop

from clasp_edge.clock import Clock
from clasp_edge.config.broker import parse_broker
from clasp_edge.config.model import Bridge, BridgeMap
from clasp_edge.devices.mqtt_bridge.events import Arrived, Done, Event, Outgoing
from clasp_edge.devices.mqtt_bridge.handover import MAX_WAITING, Handover
from clasp_edge.devices.mqtt_bridge.mapping import Mapping
from clasp_edge.devices.mqtt_bridge.queue import Record
from clasp_edge.devices.mqtt_bridge.session import WINDOW, Session

CONNACK = b"\x20\x02\x00\x00"
FLOOD = 8 * MAX_WAITING


def _published(number: int) -> bytes:
    body = b"\x00\x01t" + struct.pack(">I", number)
    return bytes((0x30, len(body))) + body


def test_a_flood_is_read_no_faster_than_it_is_taken() -> None:
    loop = new_event_loop()
    numbers: list[int] = []
    over = threading.Event()

    def take(events: list[Event]) -> None:
        numbers.extend(struct.unpack(">I", event.payload)[0] for event in events if isinstance(event, Arrived))

    handover = Handover(loop, take, lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(CONNACK + b"".join(map(_published, range(FLOOD))))
                over.wait(60.0)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"mqtt://127.0.0.1:{listener.getsockname()[1]}"
        session = Session(Bridge(brokers=(url,), map=()), "me", handover, parse_broker(url), False, Clock())
        assert session.open(1) == ""
        mapping = Mapping(0, BridgeMap(topic="#", address="/**"))
        for _ in range(WINDOW):  # paho reads as many packets at once as it waits for
            record = Record(mapping, "t", b"/t", b"", True, 0.0)
            session.publish(Outgoing(record, b"", 1, False, "param", (), False, 0, False))
        session.flush()
        while len(numbers) < FLOOD:
            loop.call_soon(loop.stop)
            loop.run_forever()
            if not handover.full:
                session.read()
                assert len(handover._events) <= MAX_WAITING + WINDOW
            assert session.reason() == ""
        session.close()
        over.set()
        thread.join(5.0)
    loop.close()
    assert numbers == list(range(FLOOD))


def test_what_no_packet_can_say_costs_the_message_and_not_the_connection() -> None:
    loop = new_event_loop()
    done: list[Event] = []
    url = "mqtt://127.0.0.1:1"
    handover = Handover(loop, done.extend, lambda: None)
    session = Session(Bridge(brokers=(url,), map=()), "me", handover, parse_broker(url), True, Clock())
    record = Record(Mapping(0, BridgeMap(topic="#", address="/**")), "t", b"/t", b"", True, 0.0)
    # A broker may name somebody as long as that; with this daemon behind it, it is longer than a string may be.
    session.publish(Outgoing(record, b"", 1, False, "param", ("x" * 65535, "me"), False, 0, False))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert [(type(event), getattr(event, "record", None)) for event in done] == [(Done, record)]
    assert getattr(done[0], "refusal", "")
