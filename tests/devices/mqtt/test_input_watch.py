"""Reads of many clients together: what happens to one of them while others are read, and what is left open."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
import struct

import pytest
from support import mqtt_packets as packets
from support.mqtt_served import Served, serve, until

from clasp_edge.devices.mqtt.connection import TcpConnection


def test_many_that_send_at_once_are_all_heard_in_order() -> None:
    async def scenario(served: Served) -> None:
        listener, _ = await served.login("listener")
        listener.send(packets.subscribe(packets.V311, 1, [("t/#", 0)]))
        await served.receive(listener, 5)
        senders = [(await served.login(f"sender {i}"))[0] for i in range(80)]  # more than are told of at once
        for number in range(3):
            for i, sender in enumerate(senders):
                sender.send(packets.publish(packets.V311, f"t/{i:02}", b"%d" % number))
        size = len(packets.publish(packets.V311, "t/00", b"0"))
        heard = await served.receive(listener, 3 * 80 * size)
        by_topic: dict[bytes, list[int]] = {}
        for at in range(0, len(heard), size):
            by_topic.setdefault(heard[at + 4 : at + 8], []).append(int(heard[at + 8 : at + size]))
        assert len(by_topic) == 80
        assert all(numbers == [0, 1, 2] for numbers in by_topic.values())
        for client in (listener, *senders):
            client.close()
        await served.left()

    serve(scenario)


def test_who_is_ended_by_another_read_of_the_same_round_is_not_read() -> None:
    async def scenario(served: Served) -> None:
        old, first = await served.login("same")
        new, second = await served.open()
        # Both have something to read when the loop looks: the new one takes the old one's place.
        new.send(packets.connect("same", packets.V311))
        old.send(packets.publish(packets.V311, "t", b"late"))
        assert (await served.receive(new, 4))[:2] == b"\x20\x02"
        await until(lambda: first.closing)
        assert served.server.sessions["same"].connection is second
        old.close()
        new.close()
        await served.left()

    serve(scenario)


@pytest.mark.parametrize("end", ["close", "reset", "half"])
def test_an_end_is_seen_and_nothing_stays_open(end: str) -> None:
    async def scenario(served: Served) -> None:
        first, _ = await served.login("first")  # what is opened once
        before = len(os.listdir("/proc/self/fd"))
        client, connection = await served.login("one")
        client.send(packets.publish(packets.V311, "a/b", b"1", retain=True))
        if end == "half":
            client.shutdown(socket.SHUT_WR)
        else:
            if end == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        await until(lambda: connection.closing)
        client.close()
        await until(lambda: len(os.listdir("/proc/self/fd")) == before)
        first.close()
        await served.left()
        assert end == "reset" or served.server.context.received == 1

    serve(scenario)


def test_who_is_not_read_is_not_watched_and_is_again_later() -> None:
    async def scenario(served: Served) -> None:
        client, connection = await served.login("one")
        other, _ = await served.login("other")
        connection.pause_reading()
        assert len(served.server.watch) == 1
        client.send(packets.publish(packets.V311, "t", b"1"))
        other.send(b"\xc0\x00")
        assert await served.receive(other, 2) == b"\xd0\x00"
        assert served.server.context.received == 0
        connection.resume_reading()
        connection.resume_reading()
        await until(lambda: served.server.context.received == 1)
        client.close()
        other.close()
        await served.left()

    serve(scenario)


def test_a_fault_ends_one_connection_and_not_the_others(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(served: Served) -> None:
        client, connection = await served.open()
        other, _ = await served.login("other")

        def fails(data: object, filled: int) -> None:
            raise RuntimeError("as if a handler were broken")

        connection.received = fails  # type: ignore[method-assign]
        client.send(packets.connect("one", packets.V311))
        other.send(b"\xc0\x00")
        assert await served.receive(other, 2) == b"\xd0\x00"
        assert await served.receive(client, 1) == b""
        other.close()
        client.close()
        await served.left()

    with caplog.at_level(logging.ERROR):
        serve(scenario)
    assert "what was received could not be acted upon" in caplog.text


def test_a_packet_in_many_pieces_comes_whole() -> None:
    async def scenario(served: Served) -> None:
        listener, _ = await served.login("listener")
        listener.send(packets.subscribe(packets.V311, 1, [("t", 0)]))
        await served.receive(listener, 5)
        client, connection = await served.login("one")
        packet = packets.publish(packets.V311, "t", os.urandom(200_000))
        before = served.server.context.received_bytes
        for at in range(0, len(packet), 30_000):
            await served.loop.sock_sendall(client, packet[at : at + 30_000])
            await asyncio.sleep(0)
        assert await served.receive(listener, len(packet)) == packet
        await until(lambda: connection.input is None)
        assert served.server.context.received_bytes == before + len(packet)
        client.close()
        listener.close()
        await served.left()

    serve(scenario)


@pytest.mark.parametrize("when", ["begins", "goes on"])
def test_without_a_free_descriptor_clients_are_read_all_the_same(when: str) -> None:
    """Nobody else is watched, so that the watch opens its own again."""

    async def scenario(served: Served) -> None:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        fillers = []
        client = socket.socket()
        client.setblocking(False)
        await served.loop.sock_connect(client, served.listener.getsockname())
        ours, _ = await served.loop.sock_accept(served.listener)

        def fill() -> None:
            free = os.dup(client.fileno())
            os.close(free)
            # The lowest one that is free is the first that is forbidden.
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
            with contextlib.suppress(OSError):  # too many open files
                while True:
                    fillers.append(os.dup(client.fileno()))

        try:
            if when == "begins":
                fill()
            _, connection = await served.loop.connect_accepted_socket(lambda: TcpConnection(served.server), ours)
            client.send(packets.connect("one", packets.V311))
            assert await served.receive(client, 4) == b"\x20\x02\x00\x00"
            if when == "goes on":
                await until(lambda: len(served.server.watch) == 1)
                connection.pause_reading()
                fill()
                connection.resume_reading()
            client.send(b"\xc0\x00")
            assert await served.receive(client, 2) == b"\xd0\x00"
            connection.pause_reading()
            connection.resume_reading()
            client.send(b"\xc0\x00")
            assert await served.receive(client, 2) == b"\xd0\x00"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for filler in fillers:
                os.close(filler)
        client.shutdown(socket.SHUT_WR)
        assert await served.receive(client, 1) == b""
        client.close()
        await until(lambda: not served.server.sessions)

    serve(scenario)
