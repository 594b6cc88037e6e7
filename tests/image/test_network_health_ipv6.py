"""Whether a box reaches anybody in a network without IPv4, with the kernel's own tables and real pings between
namespaces.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from clasp_board import network_health
from clasp_board.places import Places
from support.lan import Lan
from support.netns import why_not
from support.tun_switch import inside

pytestmark = pytest.mark.slow  # a ping that nobody answers takes as long as the kernel needs to be sure

ROUTER = "fe80::1"


@pytest.fixture
def lan() -> Iterator[Lan]:
    """A box and a router that have addresses of the link only, as IPv6 makes them by itself."""
    if reason := why_not():
        pytest.skip(reason)
    with Lan("box", "router") as made:
        for name in ("box", "router"):
            made[name].run("ip", "-4", "address", "flush", "dev", "eth0")
            made[name].run("sysctl", "-q", "-w", "net.ipv6.conf.eth0.dad_transmits=0")
        made["router"].run("ip", "address", "add", f"{ROUTER}/64", "dev", "eth0", "nodad")
        deadline = time.monotonic() + 10
        while "tentative" in made["box"].run("ip", "-6", "address", "show").stdout and time.monotonic() < deadline:
            time.sleep(0.05)
        yield made


def reached_from(lan: Lan) -> list[str]:
    with inside(lan["box"].namespace):
        return network_health.reached()


def test_a_gateway_that_has_an_address_of_the_link_is_reached(lan: Lan) -> None:
    lan["box"].run("ip", "-6", "route", "add", "default", "via", ROUTER, "dev", "eth0")
    assert reached_from(lan) == [f"{ROUTER}%eth0"]


def test_one_that_refuses_pings_answers_with_its_hardware_address(lan: Lan) -> None:
    lan["box"].run("ip", "-6", "route", "add", "default", "via", ROUTER, "dev", "eth0")
    lan["router"].run("sysctl", "-q", "-w", "net.ipv6.icmp.echo_ignore_all=1")
    assert reached_from(lan) == [f"{ROUTER}%eth0"]


def test_a_neighbour_counts_where_there_is_no_gateway(lan: Lan) -> None:
    lan["router"].run("ping", "-c", "1", "-w", "5", "ff02::1%eth0")
    lan["box"].run("ping", "-c", "1", "-w", "5", f"{ROUTER}%eth0")
    assert f"{ROUTER}%eth0" in reached_from(lan)


def test_an_update_that_cuts_it_off_is_noticed(lan: Lan, board: Places) -> None:
    lan["box"].run("ip", "-6", "route", "add", "default", "via", ROUTER, "dev", "eth0")
    with inside(lan["box"].namespace):
        network_health.remember_network(board)
        assert network_health.network_is_as_before(board)
    lan["router"].run("ip", "link", "set", "eth0", "down")
    lan["box"].run("ip", "neighbour", "flush", "all")  # as the start of the new system does
    with inside(lan["box"].namespace):
        assert not network_health.network_is_as_before(board)
