"""`clasp-edge top` and `clasp-edge reload` on a running router."""

from __future__ import annotations

from support.client import WsClient
from support.console import clasp_edge
from support.daemon import Daemon
from support.live import put

from clasp_edge.cli.top import fitted, picture


def test_top_shows_who_is_there() -> None:
    with Daemon() as daemon:
        client = WsClient(daemon.ws_url)
        client.hello("front desk")
        put(client, "/x", 1)
        shown = clasp_edge("top", "--every", "0.2", "--count", "1", "--set", f"console.socket={daemon.control_path}")
        assert (shown.returncode, shown.stderr) == (0, "")
        assert "front desk" in shown.stdout
        assert "\x1b" not in shown.stdout
        client.close()


def test_rates_are_differences_and_who_is_slow_comes_first() -> None:
    def clients(received: int, drops: int) -> dict[str, object]:
        quick = {"id": "1", "name": "quick", "address": "a:1", "received": received, "sent_bytes": 0}
        slow = {"id": "2", "name": "slow", "received": 0, "sent_bytes": 2048 * received, "drops": drops, "slow": True}
        return {"clients": [quick, slow]}

    status = {"messages": {"by_signal": {"param": 0}, "deliveries": 0}, "drops": {"rate_limit": 0}}
    later = {"messages": {"by_signal": {"param": 50}, "deliveries": 20}, "drops": {"rate_limit": 10}}
    lines = list(picture((10.0, status, clients(0, 0)), (12.0, later, clients(100, 4))))
    assert any("param 25" in line and "deliveries/s 10" in line for line in lines)
    assert any("rate limit 5" in line for line in lines)
    at = [index for index, line in enumerate(lines) if line.startswith(("slow", "quick"))]
    assert lines[at[0]].startswith("slow")
    assert lines[at[0]].split()[-4:] == ["0", "bytes", "4", "slow"]
    assert "50" in lines[at[1]]


def test_a_picture_is_no_larger_than_the_window() -> None:
    lines = ["x" * 100, "y", "z", "w"]
    assert fitted(lines, 40, 3) == ["x" * 40, "y"]
    assert fitted(lines, 0, 0) == lines


def test_reload_says_what_it_did() -> None:
    with Daemon(config='name = "one"\n') as daemon:
        ask = ("reload", "--set", f"console.socket={daemon.control_path}")
        assert clasp_edge(*ask).stdout == "taken over: nothing, there is no change\n"
        path = daemon.directory / "clasp-edge.toml"
        path.write_text('name = "two"\n[limits]\narena_mib = 8\n')
        assert clasp_edge(*ask).stdout == "taken over: name\nneeds a restart: limits.arena_mib\n"
        path.write_text('nme = "three"\n')
        failed = clasp_edge(*ask)
        assert failed.returncode == 1
        assert "nme: unknown key" in failed.stderr
        assert "nothing was changed" in failed.stderr
