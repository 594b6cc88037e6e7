"""`federation.messages_per_second`: a router that says more is read from more slowly, nothing is lost."""

from __future__ import annotations

from support.client import WsClient
from support.console import ask
from support.daemon import Daemon
from support.federated import JOURNAL, await_up, await_value, box, client, uplink
from support.live import subscribe

from clasp_edge import wire
from clasp_edge.federation.shared.extensions import peer_frame
from clasp_edge.wire import Publish, Set, SignalType

RATE = 200
SAID = 900


def test_what_is_beyond_the_rate_arrives_later() -> None:
    settings = {"limits.messages_per_second": 0}
    with (
        Daemon(sets={**JOURNAL, "federation.messages_per_second": RATE}) as hub,
        box(uplink(hub.ws_url, owns=["/own/**"]), sets={**JOURNAL, **settings}) as edge,
        client(edge) as here,
        client(hub) as there,
    ):
        await_up(edge)
        subscribe(there, "/own/cue")
        for number in range(SAID):
            here.send(Publish("/own/cue", signal=SignalType.EVENT, value=number), qos=0)
            here.send(Set(f"/own/{number % 50}", number), qos=0)
        here.sync()
        heard = [there.recv_until(Publish, 30).value for _ in range(SAID)]
        assert heard == list(range(SAID))
        for number in range(SAID - 50, SAID):
            await_value(hub, f"/own/{number % 50}", number, timeout=30)
        (peer,) = ask(hub.control_path, request="status")["result"]["federation"]["peers"].values()
        assert peer["held"] > 0
        assert peer["drops"] == 0
        told = ask(edge.control_path, request="status")["result"]["uplinks"]["hub"]
        assert (told["connects"], told["drops"], told["refused"]) == (1, 0, 0)
        assert "held back (federation.messages_per_second)" in hub.stderr
        # A client of the hub is refused as ever.
        assert "Rate limit exceeded" not in edge.stderr


def test_what_it_said_before_it_closed_counts() -> None:
    with Daemon(sets={"federation.messages_per_second": 50}) as hub, client(hub) as there:
        subscribe(there, "/own/**")
        peer = WsClient(hub.ws_url).hello("box", features=("param", "event", "federation"))
        peer.send_raw(peer_frame("box", 1, ("/own/**",), link=1))
        peer.recv_until(wire.FederationSync)
        for number in range(150):
            peer.send(Publish("/own/cue", signal=SignalType.EVENT, value=number), qos=0)
        peer.close()
        assert [there.recv_until(Publish, 30).value for _ in range(150)] == list(range(150))
