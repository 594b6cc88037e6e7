"""When every place is taken, one host cannot keep all others out (router.md 1.2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from http import HTTPStatus

import pytest
from support.client import Client, Closed, TcpClient, WsClient
from support.daemon import Daemon
from support.live import eventually
from support.mqtt_client import Broker
from websockets.exceptions import InvalidStatus

HERE, THERE, ELSEWHERE = "127.0.0.1", "127.0.0.2", "127.0.0.3"
PLACES = 4


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with Daemon(tcp=True, mqtt=True, sets={"limits.max_sessions": PLACES}) as running:
        yield running


class Hosts:
    """Clients that come from addresses of their own."""

    def __init__(self, daemon: Daemon, stack: ExitStack) -> None:
        self._daemon = daemon
        self._stack = stack

    def ws(self, source: str) -> Client:
        return self._stack.enter_context(WsClient(self._daemon.ws_url, source=source)).hello()

    def tcp(self, source: str) -> Client:
        return self._stack.enter_context(TcpClient(self._daemon.tcp_address, source=source)).hello()


@pytest.fixture
def hosts(daemon: Daemon) -> Iterator[Hosts]:
    with ExitStack() as stack:
        yield Hosts(daemon, stack)


def refused(hosts: Hosts, source: str) -> bool:
    """Whether nobody more from there is let in, on either transport."""
    with pytest.raises(InvalidStatus) as caught:
        hosts.ws(source)
    with pytest.raises(Closed):
        hosts.tcp(source)
    return caught.value.response.status_code == HTTPStatus.SERVICE_UNAVAILABLE


@pytest.mark.parametrize("transport", ["ws", "tcp"])
def test_the_most_silent_one_of_the_crowd_makes_room(hosts: Hosts, transport: str) -> None:
    crowd = [getattr(hosts, transport)(HERE) for _ in range(PLACES)]
    for number in (0, 2, 3):
        assert crowd[number].sync() == []
    newcomer = getattr(hosts, transport)(THERE)
    closed = crowd[1].wait_closed()
    if transport == "ws":
        assert (closed.code, closed.reason) == (
            1013,
            "closed to admit a client from another host (limits.max_sessions)",
        )
    assert [client.sync() for client in (crowd[0], crowd[2], crowd[3], newcomer)] == [[]] * PLACES


def test_a_host_cannot_take_places_from_itself(hosts: Hosts) -> None:
    crowd = [hosts.ws(HERE) for _ in range(PLACES)]
    assert refused(hosts, HERE)
    assert [client.sync() for client in crowd] == [[]] * PLACES


def test_half_of_the_places_are_left_to_a_crowd(hosts: Hosts) -> None:
    crowd = [hosts.tcp(HERE) for _ in range(PLACES)]
    others = [hosts.tcp(THERE), hosts.tcp(THERE)]
    for silent in crowd[:2]:
        silent.wait_closed()
    # Two and two: nobody has more than half any more.
    assert refused(hosts, ELSEWHERE)
    assert refused(hosts, THERE)
    assert [client.sync() for client in (*crowd[2:], *others)] == [[]] * PLACES


def test_a_place_that_was_given_up_is_free_for_anyone(hosts: Hosts) -> None:
    crowd = [hosts.tcp(HERE) for _ in range(PLACES)]
    stranger = hosts.tcp(THERE)
    crowd[0].wait_closed()
    stranger.close()
    crowd[0] = eventually(lambda: _admitted(hosts, HERE))
    assert [client.sync() for client in crowd] == [[]] * PLACES
    assert refused(hosts, HERE)


def _admitted(hosts: Hosts, source: str) -> Client | None:
    try:
        return hosts.tcp(source)
    except Closed:
        return None


def test_a_crowd_makes_room_for_an_mqtt_client(daemon: Daemon, hosts: Hosts) -> None:
    crowd = [hosts.tcp(THERE) for _ in range(PLACES)]
    broker = Broker(daemon.mqtt_address)
    assert broker.client().connack.code == 0
    crowd[0].wait_closed()
    assert [client.sync() for client in crowd[1:]] == [[]] * (PLACES - 1)
    broker.leave()
