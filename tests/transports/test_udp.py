"""One UDP port for two: QUIC is asked first, frames it does not know go to discovery, the rest is dropped."""

from __future__ import annotations

import asyncio
import socket
import time

from clasp_edge.config.listen import Listen
from clasp_edge.transports.udp import READ_S, Datagram, UdpPort, UdpPorts

FRAME = b"\x53\x01\x00\x00"
LONG_HEADER = b"\xc3quic"


def sent_to_port(*datagrams: bytes, known: set[bytes]) -> tuple[list[bytes], list[bytes], int]:
    """What QUIC took, what discovery got, how many were dropped."""
    quic: list[bytes] = []
    discovery: list[bytes] = []

    def ask(datagrams: list[Datagram]) -> list[Datagram]:
        own = [data for data, _ in datagrams if data and (data[0] & 0x80 or data in known)]
        quic.extend(own)
        return [datagram for datagram in datagrams if datagram[0] not in own]

    async def run() -> int:
        port = UdpPort(Listen("127.0.0.1", 0))
        name = await port.open(asyncio.get_running_loop())
        port.quic, port.discovery = ask, lambda data, address: discovery.append(data)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for data in datagrams:
                sender.sendto(data, ("127.0.0.1", int(name.rpartition(":")[2])))
            while len(quic) + len(discovery) + port.dropped < len(datagrams):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert port.listening
        port.close()
        assert port.listening  # others use it
        port.quic = port.discovery = None
        port.close()
        assert not port.listening
        return port.dropped

    dropped = asyncio.run(asyncio.wait_for(run(), 10))
    return quic, discovery, dropped


def test_each_gets_its_own() -> None:
    known = FRAME + b"known"
    quic, discovery, dropped = sent_to_port(LONG_HEADER, FRAME, b"junk", b"", known, known={known})
    assert quic == [LONG_HEADER, known]
    assert discovery == [FRAME]
    assert dropped == 2


def test_who_asks_for_the_same_address_shares_it() -> None:
    ports = UdpPorts()
    assert ports.at(Listen("", 7331)) is ports.at(Listen("", 7331))
    assert ports.at(Listen("", 7331)) is not ports.at(Listen("127.0.0.1", 7331))
    assert ports.at(Listen("", 0)) is not ports.at(Listen("", 0))


def test_others_get_their_turn_between_reads_that_take_long() -> None:
    async def run() -> list[int]:
        loop = asyncio.get_running_loop()
        port = UdpPort(Listen("127.0.0.1", 0))
        name = await port.open(loop)
        turns = 0
        read_at: list[int] = []

        def turn() -> None:
            nonlocal turns
            turns += 1
            loop.call_soon(turn)

        def take(datagrams: list[Datagram]) -> list[Datagram]:
            if datagrams:
                read_at.append(turns)
                time.sleep(2 * READ_S)
            return []

        port.quic = take
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(100):
                sender.sendto(b"x", ("127.0.0.1", int(name.rpartition(":")[2])))
        turn()
        while len(read_at) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        port.quic = None
        port.close()
        return read_at

    read_at = asyncio.run(asyncio.wait_for(run(), 20))
    assert len(set(read_at)) == len(read_at)
