"""All ways at once to fill the router's memory, from a hundred hosts, with the limits as they are by default."""

from __future__ import annotations

from support.adversary import rounds
from support.client import TcpClient
from support.daemon import Daemon
from support.memory_attacks import ALL, STATE, Attackers, Rss

from clasp_edge import wire
from clasp_edge.wire import Qos

MOST_MB = 128
HONEST = "127.0.0.9"


def test_all_attacks_together_stay_within_the_bound() -> None:
    """Those that fill the state come first and last as well: what is nobody's and what is somebody's has one total."""
    times = rounds(1, 2)
    with Daemon(tcp=True, mqtt=True, osc=True, messages_per_second=None, sets={"journal.mode": "group"}) as daemon:
        rss = Rss(daemon)
        attackers = Attackers(daemon)
        try:
            attackers.run(STATE, times)
            attackers.run(ALL, times)
            attackers.run(STATE, times)
            # An honest host is served all the same.
            with TcpClient(daemon.tcp_address, source=HONEST) as honest:
                honest.hello(timeout=60)
                honest.send(wire.Set("/honest/lamp", 1), Qos.CONFIRM)
                assert honest.recv_until(wire.Ack, 60).revision == 1
        finally:
            attackers.leave()
            rss.stop()
        assert rss.most <= MOST_MB
        assert "Traceback" not in daemon.stderr
