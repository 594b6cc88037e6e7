"""Bad packets and too many senders: counted, named once, and never anybody else's trouble."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from pathlib import Path

from support.daemon import Daemon
from support.live import Crowd, Witness, eventually, get, subscribe
from support.osc import Device, bundle, packet

from clasp_edge import wire

NOW = bytes(7) + b"\x01"


def rss_kib(daemon: Daemon) -> int:
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def read_away(device: Device) -> None:
    """Make room in the device's socket, so that the newest value finds some."""
    device.socket.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            device.socket.recv(65536)


def test_a_bad_packet_is_named_once_however_often_it_comes(daemon: Daemon, clients: Crowd, device: Device) -> None:
    witness = Witness(clients)
    for _ in range(200):
        device.send(b"this is not OSC")
    device.say("/after", 1)
    client = clients.ws()
    eventually(lambda: get(client, "/osc/after"))
    named = [line for line in daemon.stderr.splitlines() if f"127.0.0.1:{device.port}: bad packet" in line]
    assert len(named) == 1
    assert "neither a message nor a bundle" in named[0]
    witness.assert_undisturbed()


def test_a_packet_full_of_subscriptions_is_followed_in_part(daemon: Daemon, clients: Crowd, device: Device) -> None:
    """1,400 of them fit a datagram, and took 20 ms at once."""
    witness = Witness(clients)
    device.send(bundle(0, *(packet("/clasp/subscribe", "/a/**") for _ in range(200))))
    answers = 0
    with contextlib.suppress(TimeoutError):
        while device.hear(0.5)[0] == "/clasp/subscribed":
            answers += 1
    assert answers == 64
    eventually(lambda: f"127.0.0.1:{device.port}: more than 64 control messages in one packet" in daemon.stderr)
    device.say("/clasp/subscribe", "/b/**")
    assert device.hear() == ("/clasp/subscribed", ["/b/**", 60])
    witness.assert_undisturbed()


def test_arguments_without_type_tags_are_refused(daemon: Daemon, clients: Crowd, device: Device, base: str) -> None:
    device.send(base.encode() + b"\0" * (4 - len(base) % 4) + struct.pack(">f", 1.0))
    eventually(lambda: "arguments without a type tag string" in daemon.stderr)
    assert get(clients.ws(), f"/osc{base}") is None


def test_a_bundle_that_does_not_fit_together_is_refused_as_a_whole(clients: Crowd, device: Device, base: str) -> None:
    device.send(bundle(0, packet(f"{base}/a", 1)) + struct.pack(">I", 9) + b"nonsense")
    device.say(f"{base}/b", 1)
    client = clients.ws()
    eventually(lambda: get(client, f"/osc{base}/b"))
    assert get(client, f"/osc{base}/a") is None


def test_a_message_that_cannot_be_read_costs_the_others_of_its_bundle_nothing(
    daemon: Daemon, clients: Crowd, device: Device, base: str
) -> None:
    device.send(bundle(0, packet(f"{base}/a", 1), b"nonsense", packet(f"{base}/b", 1)))
    client = clients.ws()
    eventually(lambda: get(client, f"/osc{base}/b"))
    assert get(client, f"/osc{base}/a") is not None
    assert f"127.0.0.1:{device.port}: bad packet" in daemon.stderr


def test_bundle_bombs(clients: Crowd, device: Device) -> None:
    witness = Witness(clients)
    nested = packet("/deep", 1)
    while len(nested) + 20 < 65_000:
        nested = b"#bundle\0" + NOW + struct.pack(">I", len(nested)) + nested
    device.send(nested)
    # An element as large as the whole, larger, and as large as it can be said to be; and one that is empty.
    for size in (16, 20, 21, 0x7FFFFFFF, 0xFFFFFFFF, 0):
        device.send(b"#bundle\0" + NOW + struct.pack(">I", size))
    device.send(bundle(0, *[packet("/wide", number) for number in range(3000)]))
    client = clients.ws()
    eventually(lambda: (param := get(client, "/osc/wide")) is not None and param.value == 2999)
    assert get(client, "/osc/deep") is None
    witness.assert_undisturbed()


def test_a_bundle_costs_what_it_contains() -> None:
    with Daemon(osc=True, sets={"osc.messages_per_second": 100}) as daemon, Device(daemon.osc_address) as device:
        crowd = Crowd(daemon)
        device.send(bundle(0, *[packet("/a", number) for number in range(101)]))
        eventually(lambda: "more than 100 messages per second" in daemon.stderr)
        client = crowd.ws()
        eventually(lambda: (param := get(client, "/osc/a")) is not None and param.value == 100)
        crowd.leave()


def test_ten_thousand_senders(clients: Crowd) -> None:
    with Daemon(osc=True, sets={"osc.max_sources": 100, "limits.max_sessions": 20}) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        subscribe(client, "/osc/count")
        with Device(daemon.osc_address) as subscriber:
            subscriber.say("/clasp/subscribe", "/count", 3600)
            assert subscriber.hear()[0] == "/clasp/subscribed"
            subscriber.renew("/count", 3600)
            # Every sender is an address of its own: all of 127.0.0.0/8 is this machine.
            for number in range(10_000):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                    sender.bind((f"127.1.{number // 250}.{number % 250 + 1}", 0))
                    sender.sendto(packet("/count", number), daemon.osc_address)
                if number % 50 == 49:
                    # Wait for them: what the kernel had no room for would prove nothing.
                    while client.recv_type(wire.Set).value != number:
                        pass
                    if number < 9_999:
                        read_away(subscriber)
                    if number == 999:
                        early_kib = rss_kib(daemon)
            assert rss_kib(daemon) < early_kib + 2048, "sources are forgotten"
            assert subscriber.hear_until(("/count", [9999]))
            crowd.ws("one more session")
        crowd.leave()


def test_random_packets_break_nothing(clients: Crowd, daemon: Daemon) -> None:
    witness = Witness(clients)
    numbers = random.Random(8000)
    samples = [
        packet("/fuzz/a", 1, 2.5, "text", b"blob", [True, [None]]),
        bundle(0, packet("/fuzz/b", 1), bundle(0, packet("/fuzz/c", "x"))),
        packet("/fuzz/*", 1),
        packet("/clasp/subscribe", "/fuzz/**", 1),
        packet("/clasp/unsubscribe"),
        bundle(2_000_000_000, packet("/fuzz/d", 1)),
    ]
    with Device(daemon.osc_address) as device:
        for number in range(3000):
            damaged = bytearray(numbers.choice(samples))
            for _ in range(numbers.randint(1, 4)):
                damaged[numbers.randrange(len(damaged))] = numbers.randrange(256)
            device.send(bytes(damaged[: numbers.randint(0, len(damaged))] if number % 3 else damaged))
        client = clients.ws()

        def is_through() -> bool:
            device.say("/fuzz-end", 1)  # again: the kernel may have had no room for it
            return get(client, "/osc/fuzz-end") is not None

        eventually(is_through)
    witness.assert_undisturbed()


def test_wildcards_over_a_large_state_are_paid_for() -> None:
    with Daemon(osc=True, sets={"osc.messages_per_second": 100}) as daemon, Device(daemon.osc_address) as device:
        crowd = Crowd(daemon)
        client = crowd.ws()
        for number in range(20_000):
            client.send(wire.Set(address=f"/osc/a/{number}/c", value=0), 0)
        client.sync()
        for _ in range(2000):
            device.say("/a/*/b", 1)
        eventually(lambda: "more than 100 messages per second" in daemon.stderr)
        crowd.leave()
