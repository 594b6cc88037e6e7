"""Boxes that say what is not so: versions from the future, digests that lie, another one's origin, an epoch above all.
The hub stays as it is for everybody else, and names them. A hub that does the same to a box is in upstream/.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from random import Random

import pytest
from support.client import Closed, WsClient
from support.daemon import Daemon
from support.federated import JOURNAL, await_value, box, client, uplink
from support.live import put, subscribe

from clasp_edge import wire
from clasp_edge.federation.shared.dedup import Route
from clasp_edge.federation.shared.extensions import LARGEST_NUMBER, digest_frame, peer_frame, route_frame
from clasp_edge.federation.shared.versions import LAST_EPOCH, Version
from clasp_edge.wire import FederationOp, FederationSync, Publish, Set, SignalType
from clasp_edge.wire.frame import HEADER_BYTES

TAG = 0xBAD
EPOCH = 77
"""Of the numbers of a box that is none."""


@pytest.fixture(scope="module")
def hub() -> Iterator[Daemon]:
    with Daemon(sets=JOURNAL) as running, client(running) as desk:
        for number in range(300):
            desk.send(Set(f"/desk/{number}", number))
        desk.sync()
        yield running


@pytest.fixture(scope="module")
def edge(hub: Daemon) -> Iterator[Daemon]:
    """An honest box."""
    with box(uplink(hub.ws_url, owns=["/own/**", "/desk/1"], wants=["/desk/**"]), sets=JOURNAL) as running:
        yield running


def peer(hub: Daemon, name: str, *owns: str) -> WsClient:
    """Somebody who says that it is a box that knows versions."""
    joined = WsClient(hub.ws_url).hello(name, features=("param", "event", "federation"))
    joined.send_raw(peer_frame(name, 1, owns or (f"/{name}/**",), link=1, versions=True, keeps=True))
    answer = joined.recv_until(FederationSync)
    assert answer.op is FederationOp.PEER
    return joined


def say(peer: WsClient, address: str, value: wire.Value, version: Version, origin: str = "", number: int = 0) -> None:
    """One SET with a version, as a run by itself."""
    frame = wire.encode(Set(address, value))
    size = len(frame) - HEADER_BYTES + 16
    told = version.rank.to_bytes(8, "big") + version.hlc.to_bytes(8, "big")
    peer.send_raw(route_frame(Route(origin or "hostile", EPOCH, 0), number, 1))
    peer.send_raw(frame[:2] + size.to_bytes(2, "big") + frame[HEADER_BYTES:] + told)


def why_closed(peer: WsClient) -> str:
    """What the hub says when it ends the link."""
    try:
        while True:
            peer.recv()
    except Closed as closed:
        return closed.reason


def now_hlc(ahead_s: float = 0) -> int:
    return int((time.time() + ahead_s) * 1e6) & ~1


@pytest.mark.parametrize("hlc", [now_hlc(86400), (1 << 64) - 2], ids=["a day", "the last"])
def test_a_version_from_the_future_ends_the_link_and_poisons_nothing(hub: Daemon, hlc: int) -> None:
    with client(hub) as desk:
        put(desk, "/desk/0", 10)
        hostile = peer(hub, "ahead")
        say(hostile, "/desk/0", 666, Version(0, hlc, TAG))
        assert "/desk/0 has a version from the future" in why_closed(hostile)
        put(desk, "/desk/0", 11)  # it is not later than what others may write
        honest = peer(hub, "honest")
        say(honest, "/desk/0", 12, Version(0, now_hlc(1), TAG))
        await_value(hub, "/desk/0", 12)
        honest.close()
    assert "peer ahead: /desk/0 has a version from the future" in hub.stderr


def test_an_epoch_above_all_is_overruled_by_whoever_writes_next(hub: Daemon, edge: Daemon) -> None:
    """It says that it owns what it does not own, and has said so 65,535 times."""
    await_value(edge, "/desk/299", 299)  # linked: what it owns is settled then, and it would overrule
    hostile = peer(hub, "forger", "/**")
    say(hostile, "/desk/1", 666, Version(0xFFFF, now_hlc(), TAG))
    await_value(hub, "/desk/1", 666)
    await_value(edge, "/desk/1", 666, 30.0)
    with client(hub) as desk, client(edge) as here:
        put(desk, "/desk/1", 11)
        await_value(edge, "/desk/1", 11)
        put(here, "/desk/1", 12)
        await_value(hub, "/desk/1", 12)
        put(desk, "/desk/1", 13)
        await_value(edge, "/desk/1", 13)
    hostile.close()
    assert LAST_EPOCH < 0xFFFF


def test_a_digest_that_lies_costs_a_look_and_changes_nothing(hub: Daemon) -> None:
    chance = Random(1)
    buckets: dict[int, int] = {}
    with client(hub) as desk:
        put(desk, "/desk/2", 10)
        liar = peer(hub, "liar", "/desk/**")
        liar.send(FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=("/desk/**",), origin="liar"))
        liar.recv_until(wire.Ack)
        heard = 0
        for number in range(6):
            # One that lies anew each time looks as if it were busy, and is told nothing; one that keeps to it is.
            buckets = {bucket: chance.getrandbits(64) for bucket in range(1024)} if number < 4 else buckets
            liar.send_raw(digest_frame(chance.getrandbits(64)))
            liar.send_raw(digest_frame(chance.getrandbits(64), buckets))
            while True:
                message = liar.recv()
                heard += isinstance(message, Set)
                if isinstance(message, wire.Ping):
                    liar.send(wire.Pong())
                if isinstance(message, FederationSync) and message.op is FederationOp.MEND:
                    break
        assert 300 <= heard < 1000
        liar.close()
        await_value(hub, "/desk/2", 10)


@pytest.mark.parametrize("bucket", ["400", "-1", "zz", "", "f" * 10_000])
def test_a_digest_with_a_bucket_that_is_none_ends_the_link(hub: Daemon, bucket: str) -> None:
    hostile = peer(hub, "buckets")
    hostile.send(FederationSync(FederationOp.DIGEST, revisions={bucket: 1}, since_revision=1, origin="full"))
    assert why_closed(hostile)
    with client(hub) as desk:
        put(desk, "/desk/3", 3)


def test_nobody_speaks_for_another_box(hub: Daemon, edge: Daemon) -> None:
    """What it says under another one's origin, or the hub's own, does not make that one's next messages repetitions."""
    with client(hub) as desk, client(edge) as here:
        subscribe(desk, "/own/**")
        put(here, "/own/up", 1)
        await_value(hub, "/own/up", 1, 30.0)
        edge_id = (edge.data_dir / "router-id").read_text().strip()
        hub_id = (hub.data_dir / "router-id").read_text().strip()
        hostile = peer(hub, "parrot", "/parrot/**")
        for origin in (edge_id, hub_id):
            for number in range(1, 40):
                say(hostile, "/parrot/x", number, Version(0, now_hlc(), TAG), origin, number)
        hostile.send(wire.Ping())
        hostile.recv_until(wire.Pong)
        for number in range(40):
            here.send(Publish("/own/cue", signal=SignalType.EVENT, value=number))
        heard = [desk.recv_until(Publish, 30).value for _ in range(40)]
        assert heard == list(range(40))
        hostile.close()


def test_numbers_that_no_log_reaches_end_no_link_but_the_liars(hub: Daemon, edge: Daemon) -> None:
    """It announces the last number there is, and says more than it has announced: others are told all of it."""
    await_value(edge, "/desk/299", 299, 30.0)
    with client(hub) as desk, client(edge) as here:
        subscribe(here, "/desk/cue")
        hostile = peer(hub, "counter")
        hostile.send_raw(route_frame(Route("hostile", EPOCH, 0), LARGEST_NUMBER, 1))
        for number in range(3):
            hostile.send(Publish("/desk/cue", signal=SignalType.EVENT, value=number))
            hostile.send(wire.Ping())
            hostile.recv_until(wire.Pong)
        desk.send(Publish("/desk/cue", signal=SignalType.EVENT, value=3))
        assert [here.recv_until(Publish, 30).value for _ in range(4)] == [0, 1, 2, 3]
        hostile.close()
    assert "cannot be understood" not in edge.stderr
