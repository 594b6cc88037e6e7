"""`clasp-edge status` and `metrics`, as a person types them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.console import ask, clasp_edge
from support.daemon import Daemon
from support.live import Crowd, put
from support.osc import Device

from clasp_edge import wire
from clasp_edge.cli.status_text import duration, size, status_lines
from clasp_edge.version import __version__
from clasp_edge.wire import FederationOp, FederationSync


def lines_of(report: dict[str, Any]) -> list[str]:
    return list(status_lines(report))


def test_status_of_a_daemon_with_everything() -> None:
    config = """
    name = "stage left"
    [[osc.target]]
    name = "front desk"
    host = "no-such-host.invalid"
    port = 9000
    patterns = ["/osc/**"]
    [bridge.site]
    brokers = ["mqtt://127.0.0.1:9"]
    [[bridge.site.map]]
    topic = "a"
    address = "/a"
    """
    with Daemon(config=config, tcp=True, mqtt=True, osc=True, sets={"journal.mode": "group"}) as daemon:
        crowd = Crowd(daemon)
        peer = crowd.ws(greet=False)
        peer.hello("\x1b[31mleaf", features=("param", "federation"))
        peer.send(FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=("/a/**", "/b"), origin="site\x1b[31m"))
        assert peer.recv() == wire.Ack()
        put(crowd.tcp(), "/x", 1)
        with Device(daemon.osc_address) as device:
            device.say("/clasp/subscribe", "/x", 60)
            device.hear()
            done = clasp_edge("status", "--set", f"data_dir={daemon.data_dir}")
        assert (done.returncode, done.stderr) == (0, "")
        assert "\x1b" not in done.stdout
        lines = done.stdout.splitlines()
        assert lines[0].startswith(f"clasp-edge {__version__} (stage left), process {daemon.pid}, up ")
        assert lines[0].endswith("s, security open")
        assert "  listens on  ws://{}:{}".format(*daemon.ws_address) in lines
        assert "  sessions    websocket 1, tcp 1 (at most 1,000); half open 0" in lines
        assert "  osc target  front desk: 1 pattern; its host is not found yet" in lines
        assert f"  osc target  127.0.0.1:{device.port}: 1 pattern" in lines
        assert any(line.startswith("  bridge      site: ") and "mqtt://127.0.0.1:9" in line for line in lines)
        assert any(line.startswith("  journal     group: stored; ") for line in lines)
        assert "  dropped     none" in lines
        assert any(
            line.startswith("  peer        \\x1b[31mleaf (reference, site\\x1b[31m), from 127.0.0.1:") for line in lines
        )
        assert any(line.endswith(": /a/**, /b") for line in lines)
        crowd.leave()


def test_status_as_json_is_the_whole_report() -> None:
    with Daemon() as daemon:
        done = clasp_edge("status", "--json", "--set", f"data_dir={daemon.data_dir}")
        assert (done.returncode, done.stderr) == (0, "")
        report = json.loads(done.stdout)
        assert report["router"]["pid"] == daemon.pid
        assert report.keys() == ask(daemon.control_path, request="status")["result"].keys()


def test_metrics_are_printed() -> None:
    with Daemon() as daemon:
        done = clasp_edge("metrics", "--set", f"data_dir={daemon.data_dir}")
        assert (done.returncode, done.stderr) == (0, "")
        assert f'clasp_edge_info{{version="{__version__}"}} 1' in done.stdout.splitlines()


@pytest.mark.parametrize("command", ["status", "metrics"])
def test_without_a_daemon(command: str) -> None:
    done = clasp_edge(command, "--set", "data_dir=/nonexistent")
    assert (done.returncode, done.stdout) == (3, "")
    assert "/nonexistent/control.sock: there is no control socket" in done.stderr


def test_a_report_of_another_version_is_shown_as_far_as_it_goes() -> None:
    names = (
        "listeners",
        "sessions",
        "params",
        "messages",
        "memory",
        "loop",
        "mqtt",
        "osc",
        "bridges",
        "journal",
        "uplinks",
    )
    assert lines_of({"router": {}, **{name: {} for name in (*names, "drops", "errors", "federation")}})
    report = {"router": {"version": "9", "healthy": False}, "lasers": {"site": {"state": "up", "queued_bytes": 3}}}
    assert lines_of(report) == [
        "clasp-edge 9 (?), process ?, up 0 s, security ?, NOT WELL",
        "  lasers      site: state up, queued bytes 3",
    ]
    assert lines_of({"lamps": 3})[1:] == ["  lamps       3"]


def test_what_was_lost_stands_out() -> None:
    report = {
        "drops": {"event_backlog": 0, "mqtt_queue": 1234},
        "errors": {"301": 2},
        "journal": {"mode": "group", "storing": False, "message": "disk full", "records": 5, "lost_records": 4},
        "uplinks": {"site": {"state": "down", "hub": "", "queue": 1000, "drops": 2, "last_error": "refused"}},
        "federation": {
            "count": 3,
            "remembered": 1,
            "peers": {
                "r": {"kind": "reference", "up": True, "remote": "h:1", "patterns": 3, "owns": ["/a"]},
                "s": {"kind": "clasp-edge", "up": False, "remote": "", "patterns": 0, "owns": []},
                "t": {
                    "kind": "clasp-edge",
                    "up": True,
                    "remote": "h:2",
                    "patterns": 1,
                    "owns": ["/t"],
                    "queue": 1200,
                    "drops": 3,
                },
            },
        },
    }
    assert lines_of(report)[1:] == [
        "  dropped     mqtt queue 1,234",
        "  errors      301: 2",
        "  journal     group: IN MEMORY ONLY; 5 records (4 lost), 0 bytes written; disk full",
        "  uplink      site: down, no hub yet, queued 1,000, dropped 2; refused",
        "  peer        r (reference), from h:1: /a and 2 more",
        "  peer        s (clasp-edge), gone: nothing",
        "  peer        t (clasp-edge), from h:2: /t, queued 1,200, dropped 3",
        "              and 1 more",
    ]


def test_numbers_for_people() -> None:
    assert [duration(seconds) for seconds in (0, 59.9, 60, 3599, 3600, 90_000, 86_400 * 40 + 7200)] == [
        "0 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "1 d 1 h", "40 d 2 h",
    ]  # fmt: skip
    assert [size(count) for count in (0, 1023, 1024, 1536, 5 << 20, 3 << 30)] == [
        "0 bytes", "1023 bytes", "1.0 KiB", "1.5 KiB", "5.0 MiB", "3.0 GiB",
    ]  # fmt: skip


def test_quic_is_told_in_a_line_and_what_strangers_did_in_another() -> None:
    numbers = {"connections": 2, "handshakes": 5, "alpn_refused": 0, "bytes_in": 2048, "bytes_out": 10, "retries": 0}
    assert lines_of({"quic": numbers})[1:] == [
        "  quic        connections 2, handshakes 5; 2.0 KiB received, 10 bytes sent"
    ]
    assert lines_of({"quic": numbers | {"retries": 5000, "alpn_refused": 1}})[-1].split() == (
        ["alpn", "refused", "1,", "retries", "5,000"]
    )
