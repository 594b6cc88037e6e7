"""Loops between devices at different routers: quiet soon after the hand, at the hand's last value, at every router.

The devices answer each value with one of their own, 30 to 60 ms late: what no comparison of values recognises.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable

import pytest
from support.daemon import Daemon
from support.federated import await_up, await_value, client, uplink, value
from support.live import eventually, put
from support.osc import Device

FADER = "/osc/fader"
HERTZ = 40
LATE_S = (0.03, 0.06)
QUIET_S = 1.0
MOVES = 60


class Answering:
    """A device that answers each value with one that is a little higher, somewhat later."""

    def __init__(self, device: Device, late_s: float) -> None:
        self.device = device
        self.heard_s = 0.0
        self._late_s = late_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self, router: tuple[str, int]) -> None:
        self.device.router = router
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        self.device.close()

    def _run(self) -> None:
        waiting: list[tuple[float, float]] = []
        while not self._over.is_set():
            try:
                address, arguments = self.device.hear(0.005)
                if address == "/fader":
                    self.heard_s = time.monotonic()
                    waiting.append((self.heard_s + self._late_s, arguments[0] + 0.02))
            except TimeoutError:
                pass
            while waiting and waiting[0][0] <= time.monotonic():
                self.device.say("/fader", waiting.pop(0)[1], tags="f")


def target(device: Device) -> str:
    return (
        f'[[osc.target]]\nname = "fader {device.port}"\nhost = "127.0.0.1"\nport = {device.port}\n'
        'patterns = ["/osc/**"]\n'
    )


@pytest.mark.parametrize("hand", ["a client of the box", "a client of the hub", "a device"])
def test_a_loop_over_two_routers_ends_at_the_hands_last_value(hand: str) -> None:
    devices = [Answering(Device(("127.0.0.1", 1)), late_s) for late_s in LATE_S]
    at_hub, at_box = devices
    with Daemon(osc=True, config=target(at_hub.device)) as hub:
        up = uplink(hub.ws_url, wants=["/osc/**"])
        with Daemon(osc=True, config=up + target(at_box.device)) as leaf:
            await_up(leaf)
            at_hub.start(hub.osc_address)
            at_box.start(leaf.osc_address)
            moving = client(hub if hand == "a client of the hub" else leaf)
            move: Callable[[float], object] = lambda position: put(moving, FADER, position)  # noqa: E731
            if hand == "a device":
                move = lambda position: at_box.device.say("/fader", position, tags="f")  # noqa: E731
            for step in range(MOVES):
                last = struct.unpack(">f", struct.pack(">f", 0.1 + 0.7 * step / MOVES))[0]
                move(last)
                time.sleep(1 / HERTZ)
            eventually(lambda: all(time.monotonic() - device.heard_s > QUIET_S for device in devices))
            await_value(hub, FADER, last)
            await_value(leaf, FADER, last)
            moving.close()
            for device in devices:
                device.stop()


def test_what_a_device_has_rounded_at_another_router_is_no_news() -> None:
    """A fader of 127 steps at the box, moved from the hub: the value stays as it was set."""
    with Device(("127.0.0.1", 1)) as device, Daemon() as hub:
        up = uplink(hub.ws_url, wants=["/osc/**"])
        with Daemon(osc=True, config=up + target(device)) as leaf:
            await_up(leaf)
            device.router = leaf.osc_address
            moving = client(hub)
            device.say("/here", 1)  # it is told the state because it is heard for the first time
            assert device.hears_nothing()
            for step in range(20):
                put(moving, FADER, 0.5 + step / 97)
                position = device.hear()[1][0]
                device.say("/fader", round(position * 127) / 127, tags="f")
            assert device.hears_nothing()
            assert value(hub, FADER) == value(leaf, FADER) == 0.5 + 19 / 97
            moving.close()
