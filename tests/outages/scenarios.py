"""What can happen to a box's way to the hub, each as a function of a network and of how long it lasts.

`a` is the box it happens to, `b` goes on undisturbed; both write all the time (`show`).
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from outages.show import Report, Show
from support.federation_net import Net
from support.live import eventually

DEAD_AFTER_MS = 3000
HOUR_S = 3600.0

Fault = Callable[[Net, float], None]


@dataclass(frozen=True)
class Scenario:
    """`fault` happens; `killed` are the hosts whose daemon does not live through it."""

    name: str
    fault: Fault
    killed: tuple[str, ...] = ()


def stage(net: Net, *, dead_after_ms: int = DEAD_AFTER_MS) -> None:
    """A hub, and two boxes that own their part and want the other's; all with clocks that can be set."""
    more: dict[str, object] = {"dead_after_ms": dead_after_ms}
    net.serve("hub", shifted_clock=True)
    net.serve("a", uplink_to="hub", owns=["/a/**"], wants=["/b/**"], more=more, shifted_clock=True)
    net.serve("b", uplink_to="hub", owns=["/b/**"], wants=["/a/**"], more=more, shifted_clock=True)
    for host in net:
        assert host.clock is not None
        host.clock.claim_synchronised(True)
    for name in ("a", "b"):
        eventually(lambda name=name: "up" in net[name].values("/clasp-edge/uplinks/up/state").values())  # type: ignore[misc]


def perform(net: Net, scenario: Scenario, part: str, seconds: float, timeout_s: float = 60.0) -> Report:
    """Play the show, let it happen in the middle, and check what must hold; `part` is a name of this show's own."""
    with Show(net, part, killed=scenario.killed) as show:
        time.sleep(seconds / 4)
        scenario.fault(net, seconds)
    print(f"{scenario.name}, {seconds:g} s: ", end="")
    return show.settle(timeout_s)


def _while(context: Callable[[Net], contextlib.AbstractContextManager[None]]) -> Fault:
    def fault(net: Net, seconds: float) -> None:
        with context(net):
            time.sleep(seconds)

    return fault


def nothing(net: Net, seconds: float) -> None:
    time.sleep(seconds)


def resets(net: Net, seconds: float) -> None:
    """Again and again, in the middle of whatever is under way."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        net.reset("a")
        time.sleep(seconds / 3)


def half_open(net: Net, seconds: float) -> None:
    """The hub dies and comes back while the box can hear nothing of it: the box's connection is to nobody."""
    with net.blackhole("a"):
        net["hub"].daemon.restart()
    time.sleep(seconds)


def hub_killed(net: Net, seconds: float) -> None:
    net["hub"].daemon.kill()
    time.sleep(seconds)
    net["hub"].daemon.start()


def hub_hangs(net: Net, seconds: float) -> None:
    net["hub"].daemon.signal(signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        net["hub"].daemon.signal(signal.SIGCONT)


def box_killed(net: Net, seconds: float) -> None:
    """With a queue that has grown during an outage, and again while it is being sent."""
    with net.blackhole("a"):
        time.sleep(seconds / 2)
        net["a"].daemon.restart()
        time.sleep(seconds / 2)
    time.sleep(0.7)
    net["a"].daemon.restart()


def box_hangs(net: Net, seconds: float) -> None:
    net["a"].daemon.signal(signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        net["a"].daemon.signal(signal.SIGCONT)


def _jumps(box_s: float, hub_s: float, synchronised: bool) -> Fault:
    def fault(net: Net, seconds: float) -> None:
        box, hub = net["a"].clock, net["hub"].clock
        assert box is not None
        assert hub is not None
        with net.blackhole("a"):
            time.sleep(seconds / 2)
            box.claim_synchronised(synchronised)
            box.shift(box_s)
            hub.shift(hub_s)
            time.sleep(seconds / 2)
        time.sleep(seconds / 2)
        box.shift(0.0)
        hub.shift(0.0)
        box.claim_synchronised(True)

    return fault


SCENARIOS = (
    Scenario("nothing at all", nothing),
    Scenario("the cable is out", _while(lambda net: net.cut("a"))),
    Scenario("packets vanish", _while(lambda net: net.blackhole("a"))),
    Scenario("packets vanish one way", _while(lambda net: net.deaf("a"))),
    Scenario("connections are reset", resets),
    Scenario("half-open", half_open, killed=("hub",)),
    Scenario("30 % loss", _while(lambda net: net.lossy("a", 0.3))),
    Scenario("200 ms delay", _while(lambda net: net.slow("a", 200.0))),
    Scenario("delays that overtake", _while(lambda net: net.slow("a", 50.0, 100.0))),
    Scenario("flapping every 2 s", _while(lambda net: net.flapping("a", 2.0))),
    Scenario("hub killed", hub_killed, killed=("hub",)),
    Scenario("hub hangs", hub_hangs),
    Scenario("box killed", box_killed, killed=("a",)),
    Scenario("box hangs", box_hangs),
    Scenario("box's clock jumps ahead", _jumps(HOUR_S, 0.0, True)),
    Scenario("box's clock jumps back", _jumps(-HOUR_S, 0.0, True)),
    Scenario("box loses the time", _jumps(-50 * HOUR_S, 0.0, False)),
    Scenario("hub's clock jumps ahead", _jumps(0.0, HOUR_S, True)),
)
