"""Multicast groups: joined wherever there is a network, also where it comes later than the router."""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct

import pytest
from support.console import ask
from support.daemon import Daemon
from support.live import Crowd, eventually, get
from support.osc import Device

from clasp_edge.devices.osc.groups import Groups
from clasp_edge.devices.osc.links import join


class Loop:
    """Timers that are run by hand."""

    def __init__(self) -> None:
        self.due: list[object] = []

    def call_later(self, delay_s: float, then: object) -> Loop:
        self.due = [then]
        return self

    def cancel(self) -> None:
        self.due = []

    def tick(self) -> None:
        self.due[0]()  # type: ignore[operator]


def test_a_network_that_comes_up_later_is_joined(caplog: pytest.LogCaptureFixture) -> None:
    present: list[tuple[int, str]] = []
    joined: list[tuple[str, int]] = []
    down = {3}

    def join_at(sock: socket.socket, group: str, number: int) -> None:
        if number in down:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        joined.append((group, number))

    loop = Loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, caplog.at_level(logging.WARNING):
        groups = Groups(loop, [sock], ["239.1.1.1"], lambda: present, join_at)  # type: ignore[arg-type]
        groups.start()
        assert "osc.groups: 239.1.1.1 cannot be joined" in caplog.text
        present.append((3, "eth0"))
        loop.tick()
        assert joined == []
        down.clear()
        loop.tick()
        loop.tick()
        assert joined == [("239.1.1.1", 3)]
        assert caplog.text.count("cannot be joined") == 1
        assert "239.1.1.1 is joined now" in caplog.text
        present[:] = [(4, "wlan0")]
        loop.tick()
        present[:] = [(3, "eth0"), (4, "wlan0")]
        loop.tick()
        assert joined == [("239.1.1.1", number) for number in (3, 4, 3)], "an interface that came back"
        groups.close()
        assert loop.due == []


def test_joining_twice_is_no_error() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(2):
            join(sock, "239.1.1.1", socket.if_nametoindex("lo"))


def test_a_group_is_heard_at_every_interface() -> None:
    config = '[osc]\ngroups = ["239.8.7.5"]\nlisten = "0.0.0.0:0"\n'
    with Daemon(config=config, sets={"osc.listen": "0.0.0.0:0"}) as daemon:
        port = daemon.osc_address[1]
        crowd = Crowd(daemon)
        client = crowd.ws()
        with Device(("239.8.7.5", port), "127.0.0.1") as device:
            loopback = struct.pack("4s4si", bytes(4), bytes(4), socket.if_nametoindex("lo"))
            device.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, loopback)
            device.say("/a", 5)
            eventually(lambda: (param := get(client, "/osc/a")) is not None and param.value == 5)
        crowd.leave()


def test_what_one_of_the_ports_sends_to_another_is_not_heard() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    target = f'[[osc.target]]\nname = "all"\nhost = "127.0.0.1"\nport = {port}\npatterns = ["/osc/**"]\n'
    config = f'[osc]\nalso_listen = ["127.0.0.1:{port}"]\n{target}'
    with Daemon(osc=True, config=config) as daemon, Device(daemon.osc_address) as device:
        crowd = Crowd(daemon)
        device.say("/a", 1)
        eventually(lambda: (param := get(crowd.ws(), "/osc/a")) is not None and param.value == 1)
        status = eventually(lambda: own if (own := statistics(daemon))["own_packets"] else None)
        assert status["messages"] == 1
        crowd.leave()


def statistics(daemon: Daemon) -> dict[str, int]:
    """What the status says of OSC."""
    answer = ask(daemon.control_path, request="status")
    found: dict[str, int] = answer["result"]["osc"]
    return found
