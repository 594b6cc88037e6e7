"""The network that outages are played on, and the show itself: they do what they say, and notice what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from outages.show import Show
from support.client import Closed, WsClient
from support.clock_shim import ShiftedClock
from support.federation_net import PORT, Net, why_not
from support.live import eventually, put
from support.tun_switch import inside

from clasp_edge import wire


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    if reason := why_not():
        pytest.skip(reason)
    with Net("hub", "a") as made:
        made.serve("hub")
        made["a"].run("", shifted_clock=True)
        yield made


def across(net: Net) -> WsClient:
    """A client on `a` of the hub's daemon."""
    with inside(net["a"].namespace):
        client = WsClient(net["hub"].url)
    client.hello()
    client.sync()
    return client


def round_trip_s(client: WsClient) -> float:
    began_s = time.monotonic()
    client.sync(timeout=10.0)
    return time.monotonic() - began_s


def test_packets_go_through_and_are_counted(net: Net) -> None:
    before = net.packets()
    with across(net) as client:
        put(client, "/x", 1)
    assert net.packets() > before
    assert net["hub"].values("/x") == {"/x": 1}
    assert net["a"].values("/x") == {}


def test_delay(net: Net) -> None:
    with across(net) as client, net.slow("a", 150.0):
        assert round_trip_s(client) >= 0.3


def test_loss_is_made_good_by_tcp(net: Net) -> None:
    with across(net) as client, net.lossy("a", 0.1):
        for _ in range(5):
            client.sync(timeout=30.0)


def test_a_blackhole_tells_nobody_and_what_was_sent_arrives_later(net: Net) -> None:
    with across(net) as client:
        with net.blackhole("a"), pytest.raises(TimeoutError):
            client.sync(timeout=0.5)
        client.recv(timeout=10.0)


def test_one_direction_alone(net: Net) -> None:
    with across(net) as client, net.deaf("a"):
        client.send(wire.Set(address="/deaf", value=1))
        eventually(lambda: net["hub"].values("/deaf"))
        with pytest.raises(TimeoutError):
            client.recv(timeout=0.3)


def test_a_reset_is_told_to_both_ends(net: Net) -> None:
    with across(net) as client:
        net.reset("a")
        with pytest.raises(Closed):
            client.sync()
    eventually(lambda: "disconnected" in net["hub"].daemon.stderr)


def test_a_cut(net: Net) -> None:
    with net.cut("a"), inside(net["a"].namespace), pytest.raises(OSError, match="unreachable"):
        WsClient(net["hub"].url)
    across(net).close()


def test_flapping(net: Net) -> None:
    with across(net) as client:
        with net.flapping("a", 0.4):
            slowest_s = max(round_trip_s(client) for _ in range(20) if not time.sleep(0.03))
        assert slowest_s > 0.1
        assert round_trip_s(client) < 10.0


def test_a_clock_of_its_own(net: Net) -> None:
    clock = net["a"].clock
    assert clock is not None

    def ahead_s() -> float:
        with net["a"].client() as client:
            return client.welcome.time / 1e6 - time.time()

    assert abs(ahead_s()) < 5
    clock.shift(3600)
    assert abs(ahead_s() - 3600) < 5
    clock.shift(-3600)
    assert abs(ahead_s() + 3600) < 5
    clock.shift(0)


def test_a_clock_that_claims(tmp_path: Path) -> None:
    program = "from clasp_edge.dataplane.journal_buffer import clock_synchronised; print(clock_synchronised())"
    clock = ShiftedClock(tmp_path)
    for claim in (True, False):
        clock.claim_synchronised(claim)
        run = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | clock.environment,
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        assert run.stdout.strip() == str(claim)
    clock.close()


def test_a_show_without_federation_is_found_wanting(net: Net) -> None:
    with Show(net, "alone", owners=("hub",)) as show:
        time.sleep(0.2)
    with pytest.raises(AssertionError, match=r"after 0.5 s: a has of hub \(is, should be\)"):
        show.settle(0.5)


def test_a_show_on_one_host_is_in_order_with_a_kill_in_the_middle() -> None:
    if reason := why_not():
        pytest.skip(reason)
    with Net("hub") as net:
        net.serve("hub")
        assert net["hub"].url.endswith(f":{PORT}")
        with Show(net, "killed", owners=("hub",), killed=("hub",)) as show:
            time.sleep(0.3)
            net["hub"].daemon.restart()
            time.sleep(0.3)
        report = show.settle(10.0)
        assert report.events > 10
        assert show.writers["hub"].interruptions == 1
