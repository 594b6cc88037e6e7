"""Looks for routers in the local network, once: by mDNS (a question for `_clasp._tcp`) and by broadcast to port 7331.

Questions go out of one socket for each interface and family, from a port of its own, so the answers come back to it
alone (RFC 6762, 6.7). What answers may be anybody: tables are bounded by MAX_ROUTERS and MAX_DATAGRAMS, and who uses a
result has to make sure of whom it talks to.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Callable
from typing import Any, cast

from clasp_edge import wire
from clasp_edge.discovery import dns
from clasp_edge.discovery.answer import FINDER
from clasp_edge.discovery.interfaces import Interface, Interface6, interfaces, interfaces6
from clasp_edge.discovery.router import SERVICE, FoundRouter, cut, understood

MDNS = ("224.0.0.251", 5353)
MDNS6 = ("ff02::fb", 5353)
BROADCAST_PORT = 7331

ASK_AGAIN_S = (0.0, 0.25, 0.8)
"""A datagram may be lost, and on Wi-Fi broadcasts often are."""

MAX_ROUTERS = 200
MAX_DATAGRAMS = 4000
"""Looked at in one search: an answer of each of so many routers by each way, asked three times, and some."""

MAX_ADDRESSES = 1000

REQUEST_BYTES = 560
"""The question is as long as the longest answer (`answer.Answerer`)."""


async def find(
    timeout_s: float, enough: Callable[[FoundRouter], bool] | None = None, *, port: int = BROADCAST_PORT
) -> list[FoundRouter]:
    """The routers that answer in this time, each once for each address it answers from; sooner where one is `enough`.
    Raises OSError where there is no network to ask."""
    search = _Search(enough, port)
    try:
        await search.run(timeout_s)
    finally:
        search.close()
    return search.found()


class _Search:
    def __init__(self, enough: Callable[[FoundRouter], bool] | None, port: int) -> None:
        self._enough = enough
        self._port = port
        self._number = secrets.randbelow(1 << 16)
        self._transports: list[tuple[Interface, asyncio.DatagramTransport]] = []
        self._links: list[tuple[Interface6, asyncio.DatagramTransport]] = []
        self._found: dict[tuple[str, str, int, int], FoundRouter] = {}
        self._left = MAX_DATAGRAMS
        self._over = asyncio.Event()
        hello = wire.Hello(1, FINDER, ())
        self._hello = wire.encode(wire.Hello(1, FINDER + " " * (REQUEST_BYTES - len(wire.encode(hello))), ()))
        self._query = dns.query(SERVICE, dns.PTR, self._number)

    async def run(self, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        for interface in interfaces():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface.address))
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
                sock.bind((interface.address, 0))
            except OSError:
                sock.close()
                continue  # its address went meanwhile
            transport, _ = await loop.create_datagram_endpoint(lambda: _Ear(self), sock=sock)
            self._transports.append((interface, transport))
        await self._listen6(loop)
        if not self._transports and not self._links:
            raise OSError("there is no network to look in")
        asking = [loop.call_later(delay_s, self._ask) for delay_s in ASK_AGAIN_S if delay_s < timeout_s]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._over.wait()
        for timer in asking:
            timer.cancel()

    async def _listen6(self, loop: asyncio.AbstractEventLoop) -> None:
        """Where a network has no IPv4, or a router is on a link without: by the addresses of the link."""
        for interface in interfaces6():
            if not interface.address.startswith("fe80:"):
                continue
            sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, interface.number)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
                sock.bind((interface.address, 0, 0, interface.number))
            except OSError:
                sock.close()
                continue  # its address went meanwhile
            transport, _ = await loop.create_datagram_endpoint(lambda: _Ear(self), sock=sock)
            self._links.append((interface, transport))

    def _ask(self) -> None:
        for link, transport in self._links:
            transport.sendto(self._query, (*MDNS6, 0, link.number))
        for interface, transport in self._transports:
            if interface.multicast:
                transport.sendto(self._query, MDNS)
            transport.sendto(self._hello, (interface.broadcast, self._port))

    def close(self) -> None:
        for _, transport in (*self._transports, *self._links):
            transport.close()

    def found(self) -> list[FoundRouter]:
        """Those that said most of themselves first, and of one router IPv4 before an address of the link."""
        return sorted(
            self._found.values(), key=lambda each: (each.name.lower(), not each.id, ":" in each.host, each.host)
        )

    def received(self, data: bytes, host: str) -> None:
        self._left -= 1
        if self._left < 0:
            return
        if data[:2] == self._number.to_bytes(2, "big"):
            self._mdns(data, host)
        elif data[:1] == b"\x53":
            self._welcome(data, host)

    def _welcome(self, data: bytes, host: str) -> None:
        try:
            message = wire.decode(data)[1]
        except wire.WireError:
            return
        if isinstance(message, wire.Welcome):
            said = {}
            for part in (message.token or "").split(" "):
                key, equals, value = part.partition("=")
                if equals:
                    said[key] = value
            self._keep(understood(said | {"name": message.name}, host, host, "broadcast"))

    def _mdns(self, data: bytes, host: str) -> None:
        try:
            found = dns.records(data)
        except dns.Malformed:
            return
        if ":" in host and all(each.type != dns.AAAA for each in found):
            return  # asked by IPv6, and does not listen there
        ports = {each.name.lower(): each.port for each in found if each.type == dns.SRV}
        said = {each.name.lower(): dns.texts(cast("bytes", each.data)) for each in found if each.type == dns.TXT}
        for record in found:
            if record.type != dns.PTR or record.name.lower() != SERVICE or not isinstance(record.data, str):
                continue
            instance = record.data
            told = said.get(instance.lower(), {})
            port = ports.get(instance.lower())
            if port and "ws" not in told and "tls" not in told:
                told["ws"] = str(port)
            label = instance[: -len(SERVICE) - 1] if instance.lower().endswith("." + SERVICE) else instance
            # The sender is where the router was reached; what its address records say may be another network's.
            self._keep(understood(told, cut(label.replace("\\.", ".")), host, "mdns"))

    def _keep(self, router: FoundRouter | None) -> None:
        if router is None:
            return
        key = router.host, router.id or router.name, router.ws_port, router.tls_port
        wanted = self._enough is not None and self._enough(router)
        known = self._found.get(key)
        if known is None and len(self._found) >= MAX_ROUTERS and not wanted:
            return
        if known is None or (router.id and not known.id):
            self._found[key] = router
        if wanted:
            self._over.set()


class _Ear(asyncio.DatagramProtocol):
    def __init__(self, search: _Search) -> None:
        self._search = search

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        host = addr[0]
        # Of a link, and there are several: with the one that it came by.
        if len(addr) > 3 and addr[3] and "%" not in host:
            try:
                host = f"{host}%{socket.if_indextoname(addr[3])}"
            except OSError:
                return  # the interface went meanwhile
        self._search.received(data, host)

    def error_received(self, exc: Exception) -> None:
        """A network that takes no broadcast: others may."""
