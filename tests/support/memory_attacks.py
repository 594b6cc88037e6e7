"""What strangers do to fill a router's memory, each kind for itself: to be let loose together.

Everything goes over plain sockets, and from many hosts of 127.0.0.0/8. Whoever is refused or closed comes again a few
times; what is refused is the router's business.
"""

from __future__ import annotations

import base64
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from support import mqtt_packets as mqtt
from support.daemon import Daemon
from support.mqtt_packets import V5
from support.osc import bundle, packet

from clasp_edge import wire
from clasp_edge.wire import FederationOp, FederationSync, Signal, SignalType, SubscribeOptions

PATIENCE_S = 20.0
"""Of a socket: a router that does not read is as good as one that refuses."""

HALF_FRAME = 65_000
"""Bytes of a message whose end does not come."""

Attack = Callable[["Attackers", int], None]


class Attackers:
    """The hosts 127.0.10.1 to 127.0.10.`hosts`. `run` lets each attack loose, some hosts each, until all have ended."""

    def __init__(self, daemon: Daemon, hosts: int = 100) -> None:
        self.daemon = daemon
        self.hosts = [f"127.0.10.{number + 1}" for number in range(hosts)]
        self.sockets: list[socket.socket] = []
        self.stopped = False

    def run(self, attacks: Iterable[Attack], times: int) -> None:
        """Each attack in a thread of its own, `times` as much as the least."""
        threads = [threading.Thread(target=self._one, args=(attack, times), daemon=True) for attack in attacks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _one(self, attack: Attack, times: int) -> None:
        with suppress(OSError):
            attack(self, times)

    def leave(self) -> None:
        """Everybody at once."""
        for one in self.sockets:
            # A thread that still waits for it would keep it open.
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            with suppress(OSError):
                one.close()
        self.sockets.clear()

    # ---- connections ----

    def connect(self, address: tuple[str, int], number: int) -> socket.socket:
        one = socket.create_connection(address, PATIENCE_S, source_address=(self.hosts[number % len(self.hosts)], 0))
        self.sockets.append(one)
        return one

    def tcp(self, number: int, *features: str) -> socket.socket:
        """A client of CLASP that has said HELLO."""
        one = self.connect(self.daemon.tcp_address, number)
        say(one, wire.Hello(1, f"x{number}", features or ("param", "event", "stream")))
        return one

    def ws(self, number: int) -> socket.socket:
        host, port = self.daemon.ws_url.removeprefix("ws://").split(":")
        one = self.connect((host, int(port)), number)
        key = base64.b64encode(os.urandom(16)).decode()
        one.sendall(
            f"GET /clasp HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}"
            "\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: clasp\r\n\r\n".encode()
        )
        found = b""
        while b"\r\n\r\n" not in found:
            more = one.recv(4096)
            if not more:
                raise ConnectionError
            found += more
        one.sendall(ws_frame(wire.encode(wire.Hello(1, "x", ()))))
        return one

    def mqtt(self, number: int, client_id: str, **options: object) -> socket.socket:
        one = self.connect(self.daemon.mqtt_address, number)
        one.sendall(mqtt.connect(client_id, V5, **options))  # type: ignore[arg-type]
        one.recv(4096)
        return one


def ws_frame(payload: bytes, *, start: bool = True, fin: bool = True) -> bytes:
    """A masked frame (RFC 6455, 5.2); the mask is 0."""
    size = len(payload)
    head = bytes(((0x80 if fin else 0) | (2 if start else 0),))
    head += bytes((0x80 | size,)) if size < 126 else b"\xfe" + struct.pack(">H", size)
    return head + bytes(4) + payload


def framed(*messages: wire.Message, qos: int | None = None) -> bytes:
    frames = [wire.encode(message, qos) for message in messages]
    return b"".join(struct.pack(">I", len(frame)) + frame for frame in frames)


def say(one: socket.socket, *messages: wire.Message, qos: int | None = None) -> None:
    one.sendall(framed(*messages, qos=qos))


def read_all(one: socket.socket) -> None:
    """Read whatever comes, beside what else is done."""

    def read() -> None:
        # The timeout stays: to change it would change how somebody else's sending waits.
        with suppress(OSError):
            while True:
                try:
                    if not one.recv(1 << 18):
                        return
                except TimeoutError:
                    continue

    threading.Thread(target=read, daemon=True).start()


def at_the_rate(items: Iterable[bytes], one: socket.socket) -> None:
    """No faster than 900 messages a second."""
    for number, item in enumerate(items):
        one.sendall(item)
        if number % 90 == 89:
            time.sleep(0.1)


# ---- beginnings of messages ----


def ws_fragments(attackers: Attackers, times: int) -> None:
    for number in range(60 * times):
        with suppress(OSError):
            one = attackers.ws(number)
            for part in range(13):
                one.sendall(ws_frame(b"x" * 5000, start=part == 0, fin=False))


def ws_crumbs(attackers: Attackers, times: int) -> None:
    for number in range(20 * times):
        with suppress(OSError):
            one = attackers.ws(number)
            one.sendall(b"".join(ws_frame(b"x" * 50, start=part == 0, fin=False) for part in range(1300)))


def ws_half_frames(attackers: Attackers, times: int) -> None:
    for number in range(40 * times):
        with suppress(OSError):
            attackers.ws(number).sendall(b"\x82\xfe" + struct.pack(">H", 65_535) + bytes(4) + b"x" * HALF_FRAME)


def ws_floods(attackers: Attackers, times: int) -> None:
    """More than the router reads, of small messages."""
    flood = ws_frame(wire.encode(wire.Ping())) * 100_000

    def write(number: int) -> None:
        with suppress(OSError):
            one = attackers.ws(number)
            read_all(one)
            one.sendall(flood)

    for number in range(4 * times):
        together(lambda index, number=number: write(4 * number + index), 4)  # type: ignore[misc]


def tcp_half_frames(attackers: Attackers, times: int) -> None:
    for number in range(40 * times):
        with suppress(OSError):
            attackers.tcp(number).sendall(struct.pack(">I", 65_547) + b"S" * HALF_FRAME)


def mqtt_half_packets(attackers: Attackers, times: int) -> None:
    for number in range(40 * times):
        with suppress(OSError):
            one = attackers.mqtt(number, f"half{number}")
            one.sendall(b"\x30" + mqtt.varint(HALF_FRAME) + mqtt.text("t") + b"\0" + b"x" * (HALF_FRAME - 100))


# ---- what MQTT clients leave ----


def mqtt_wills(attackers: Attackers, times: int) -> None:
    for number in range(30 * times):
        with suppress(OSError):
            attackers.mqtt(number, f"will{number}", will=mqtt.Will("w", b"x" * 60_000))


def mqtt_aliases(attackers: Attackers, times: int) -> None:
    for number in range(8 * times):
        with suppress(OSError):
            one = attackers.mqtt(number, f"alias{number}")
            for alias in range(1, 65):
                topic = "t" * 64_000 + f"{number:04d}{alias:02d}"
                one.sendall(mqtt.publish(V5, topic, b"", props={"topic_alias": alias}))


def mqtt_filters(attackers: Attackers, times: int) -> None:
    for number in range(8 * times):
        with suppress(OSError):
            one = attackers.mqtt(number, f"filter{number}")
            read_all(one)
            for count in range(60):
                text = f"$share/{count:05d}" + "g" * 30_000 + "/x" if count % 2 else f"${count:05d}" + "x" * 60_000
                one.sendall(mqtt.subscribe(V5, count + 1, [(text, 0)]))


def mqtt_queues(attackers: Attackers, times: int) -> None:
    """Sessions that are away, and a flood for all of them."""
    for number in range(8 * times):
        with suppress(OSError):
            one = attackers.mqtt(number, f"away{number}", props={"session_expiry_interval": 3600})
            one.sendall(mqtt.subscribe(V5, 1, [("q/#", 1)]))
            one.recv(100)
            one.close()
    one = attackers.tcp(99)
    at_the_rate((framed(wire.Publish(f"/mqtt/q/{number}", SignalType.EVENT, "x" * 5000)) for number in range(300)), one)


# ---- what CLASP clients ask for ----


def subscriptions(attackers: Attackers, times: int) -> None:
    for number in range(6 * times):
        with suppress(OSError):
            one = attackers.tcp(number)
            read_all(one)
            at_the_rate(
                (
                    framed(wire.Subscribe(count, "/" + "/".join(f"{number}a{count}b{part}" for part in range(60))))
                    for count in range(270)
                ),
                one,
            )


def filters(attackers: Attackers, times: int) -> None:
    """`epsilon` remembers what was sent of each address."""
    array = [1e5 + number for number in range(7000)]
    for number in range(2 * times):
        with suppress(OSError):
            one = attackers.tcp(number)
            read_all(one)
            for count in range(100):
                say(one, wire.Subscribe(count, f"/t{number}/{count}/*", options=SubscribeOptions(epsilon=1e-300)))
            writer = attackers.tcp(number)
            for count in range(200):
                say(writer, wire.Publish(f"/t{number}/{count % 100}/{count}", SignalType.STREAM, array))


def audiences(attackers: Attackers, times: int) -> None:
    """A fan-out list of its own for each address."""
    bits = 8 + times
    for number in range(4 * bits):
        one = attackers.tcp(number)
        read_all(one)
        way = "/".join("1" if bit == number % bits else "*" for bit in range(bits))
        say(one, wire.Subscribe(1, f"/b/{way}"))
    writer = attackers.tcp(98)
    names = ("/b/" + "/".join(f"{number >> bit & 1}" for bit in range(bits)) for number in range(1 << bits))
    at_the_rate((framed(wire.Publish(name, SignalType.EVENT, None)) for name in names), writer)


def schedule(attackers: Attackers, times: int) -> None:
    later_us = int((time.time() + 3000) * 1e6)
    many = framed(wire.Bundle(tuple(wire.Set("/x", None) for _ in range(8000)), timestamp=later_us))
    for number in range(20 * times):
        with suppress(OSError):
            one = attackers.tcp(number)
            one.sendall(many)
            one.close()


def announces(attackers: Attackers, times: int) -> None:
    for number in range(5 * times):
        one = attackers.tcp(number)
        read_all(one)
        for count in range(0, 1000, 40):
            names = (f"/s/{number}/{count + part:06d}" + "y" * 900 for part in range(40))
            signals = tuple(Signal(name, SignalType.PARAM, "d" * 250, "a" * 250) for name in names)
            say(one, wire.Announce("n", signals))


def deaf(attackers: Attackers, times: int) -> None:
    """Who is sent everything, and reads nothing."""
    for number in range(20 * times):
        with suppress(OSError):
            one = attackers.tcp(number)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            say(one, wire.Subscribe(1, "/**"))


# ---- what other routers say ----


def routers(attackers: Attackers, times: int) -> None:
    for number in range(6 * times):
        with suppress(OSError):
            one = attackers.tcp(number, "federation")
            read_all(one)
            name = f"router{number}"
            patterns = tuple("/" + "/".join([f"{number}"] * 15 + [f"{count:x}"]) for count in range(1000))
            say(one, FederationSync(FederationOp.PEER, origin=name, since_revision=1, patterns=patterns))
            say(one, FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=patterns, origin=name))
            if number % 2:
                one.close()


# ---- state ----


def large_params(attackers: Attackers, times: int) -> None:
    for number in range(times):
        one = attackers.tcp(number)
        read_all(one)
        items = (framed(wire.Set(f"/p/{number}/{count}", "y" * 60_000), qos=0) for count in range(200))
        at_the_rate(items, one)


def small_params(attackers: Attackers, times: int) -> None:
    def write(number: int) -> None:
        with suppress(OSError):
            one = attackers.tcp(number)
            read_all(one)
            items = (framed(wire.Set(f"/q/{number}/{count}", count), qos=0) for count in range(1000 * times))
            at_the_rate(items, one)

    together(write, 10)


def routes(attackers: Attackers, times: int) -> None:
    def write(number: int) -> None:
        with suppress(OSError):
            one = attackers.tcp(number)
            read_all(one)
            texts = (f"/r/{number}/{count}" + "y" * 900 for count in range(1000 * times))
            at_the_rate((framed(wire.Publish(text, SignalType.EVENT, "z" * 100)) for text in texts), one)

    together(write, 4)


# ---- OSC ----


def osc_subscribers(attackers: Attackers, times: int) -> None:
    for number in range(30 * times):
        one = _udp(attackers, number)
        one.sendto(packet("/clasp/subscribe", "/**", 3600), attackers.daemon.osc_address)
        one.sendto(packet("/clasp/renew", "/**", 3600), attackers.daemon.osc_address)


def osc_schedule(attackers: Attackers, times: int) -> None:
    for number in range(10 * times):
        one = _udp(attackers, number)
        for count in range(20):
            members = (packet(f"/x{number}/{count}/{part}", "z" * 1000) for part in range(28))
            one.sendto(bundle(time.time() + 600 + count, *members), attackers.daemon.osc_address)


def osc_flood(attackers: Attackers, times: int) -> None:
    for number in range(4 * times):
        one = _udp(attackers, number)
        for count in range(2000):
            one.sendto(packet(f"/f{number}/{count}", "z" * 200), attackers.daemon.osc_address)


def _udp(attackers: Attackers, number: int) -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((attackers.hosts[number % len(attackers.hosts)], 0))
    attackers.sockets.append(one)
    return one


def together(write: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=write, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


ALL: tuple[Attack, ...] = (
    ws_fragments, ws_crumbs, ws_half_frames, ws_floods, tcp_half_frames, mqtt_half_packets, mqtt_wills, mqtt_aliases,
    mqtt_filters, mqtt_queues, subscriptions, filters, audiences, schedule, announces, deaf, routers, large_params,
    small_params, routes, osc_subscribers, osc_schedule, osc_flood,
)  # fmt: skip


STATE: tuple[Attack, ...] = (large_params, small_params, routes, audiences)
"""Those that fill what is nobody's."""


class Rss:
    """Anonymous memory of the process in MB (10^6 bytes), looked at all the time: `most` of it so far, and `now`."""

    def __init__(self, daemon: Daemon) -> None:
        self._status = f"/proc/{daemon.pid}/status"
        self.most = 0.0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def now(self) -> float:
        with open(self._status) as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon:")) * 1024 / 1e6

    def stop(self) -> None:
        self._ends.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ends.wait(0.02):
            self.most = max(self.most, self.now)
