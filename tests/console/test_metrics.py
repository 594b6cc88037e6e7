"""The metrics: laid out as a collector wants them, and saying what has happened."""

from __future__ import annotations

import re
import time

import pytest
from support.console import ask
from support.daemon import PROJECT_ROOT, Daemon
from support.live import Crowd, put, subscribe
from support.mqtt_client import Broker
from support.osc import Device
from support.prometheus import Samples, read_metrics, value

from clasp_edge import wire
from clasp_edge.console.prometheus import MAX_SAMPLES, metrics_text
from clasp_edge.console.sources import COUNTER, GAUGE, Family
from clasp_edge.version import __version__
from clasp_edge.wire import SignalType


def metrics(daemon: Daemon) -> Samples:
    return read_metrics(ask(daemon.control_path, request="metrics")["result"])


def test_a_daemon_with_everything_on() -> None:
    config = """
    [bridge.site]
    brokers = ["mqtt://127.0.0.1:9"]
    [[bridge.site.map]]
    topic = "a"
    address = "/a"
    """
    with Daemon(config=config, tcp=True, mqtt=True, osc=True, sets={"journal.mode": "group"}) as daemon:
        crowd, broker = Crowd(daemon), Broker(daemon.mqtt_address)
        client = crowd.ws()
        subscribe(client, "/x/**")
        put(crowd.ws(), "/x/a", 1)
        client.send(wire.Publish("/y", SignalType.EVENT))
        client.sync()
        broker.client().publish("lamp", b"1", qos=1)
        found = metrics(daemon)
        assert value(found, "info", version=__version__) == 1
        assert value(found, "healthy") == 1
        assert abs(value(found, "start_time_seconds") - time.time()) < 60
        assert value(found, "sessions", kind="websocket") == 2
        assert value(found, "sessions", kind="mqtt") == 1
        assert value(found, "subscriptions") == 2  # the bridge has one as well
        assert value(found, "messages_total", signal="event") == 1
        assert value(found, "messages_total", signal="param") >= 2  # /x/a and the lamp
        assert value(found, "deliveries_total") >= 1
        assert value(found, "mqtt_connected_clients") == 1
        assert value(found, "mqtt_received_messages_total") == 1
        assert value(found, "bridge_up", bridge="site") == 0
        assert value(found, "journal_storing") == 1
        assert value(found, "resident_memory_bytes") > 1e6
        assert value(found, "cpu_seconds_total") > 0
        assert 0 <= value(found, "loop_lag_seconds") <= value(found, "loop_worst_lag_seconds") < 10
        causes = {dict(labels)["cause"] for name, labels in found if name == "clasp_edge_dropped_messages_total"}
        assert causes == {
            "event_backlog", "stream_outbox", "rate_limit", "mqtt_queue", "osc_link", "osc_rate", "uplink_queue",
            "downlink_queue",
        }  # fmt: skip
        crowd.leave()
        broker.leave()


BASE_UNITS = ("seconds", "bytes", "celsius", "ratio", "info")
OTHER_UNITS = ("milliseconds", "_ms", "microseconds", "minutes", "kib", "mib", "kilobytes", "percent")
"""What Prometheus wants in base units (prometheus.io/docs/practices/naming)."""


def test_names_and_labels_follow_the_conventions(daemon: Daemon) -> None:
    text = ask(daemon.control_path, request="metrics")["result"]
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    assert len(kinds) > 60
    assert kinds.keys() == helps.keys()
    for name, kind in kinds.items():
        assert re.fullmatch(r"clasp_edge(_[a-z0-9]+)+", name), name
        assert kind in ("counter", "gauge"), name
        assert name.endswith("_total") == (kind == "counter"), name
        assert not any(unit in name for unit in OTHER_UNITS), name
        assert not name.endswith(("_count", "_sum", "_bucket")), name
        assert helps[name].endswith("."), name
    for labels in re.findall(r"^clasp_edge\w+\{(.*)\} ", text, re.MULTILINE):
        for label in re.findall(r"(\w+)=\"", labels):
            assert re.fullmatch(r"[a-z]+", label), label
            assert label not in ("job", "instance", "le", "quantile"), label


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    board = (PROJECT_ROOT / "docs" / "grafana.json").read_text()
    asked = {name for target in re.findall(r'"expr": "(.*)"', board) for name in re.findall(r"clasp_edge\w+", target)}
    assert len(asked) > 15
    named = set()
    for path in (PROJECT_ROOT / "clasp_edge").rglob("*.py"):
        named |= set(re.findall(r'"(clasp_edge_\w+)"', path.read_text()))
        for stem, quoted in re.findall(r'_(uplink|osc)\w*\("(?:\w+", )?"?(\w+)"', path.read_text()):
            named.add(f"clasp_edge_{stem}_{quoted}")
            named.add(f"clasp_edge_{stem}_{quoted}_total")
    assert asked - named == set()


def test_counters_only_grow(daemon: Daemon) -> None:
    crowd = Crowd(daemon)
    client = crowd.ws()
    before = metrics(daemon)
    for number in range(10):
        put(client, f"/grow/{number}", number)
        client.send(wire.Get("/grow/none"))
        client.recv()
    after = metrics(daemon)
    for key, was in before.items():
        if key[0].endswith("_total"):
            assert after[key] >= was, key
    assert value(after, "messages_total", signal="param") - value(before, "messages_total", signal="param") == 10
    assert value(after, "errors_total", code="201") >= 10
    crowd.leave()


def test_a_loop_of_osc_devices_is_seen() -> None:
    """Two devices with feedback mappings that each answer with the opposite."""
    with Daemon(osc=True, sets={"osc.subscriber_rate": 0}) as daemon:
        assert value(metrics(daemon), "osc_loops_broken_total") == 0
        with Device(daemon.osc_address) as one, Device(daemon.osc_address) as two:
            for device in (one, two):
                device.say("/clasp/subscribe", "/x", 60)
                device.hear()
            one.say("/x", 1)
            end_s = time.monotonic() + 30
            while time.monotonic() < end_s:
                try:
                    two.say("/x", 1 - two.hear(0.5)[1][0])
                    one.say("/x", 1 - one.hear(0.5)[1][0])
                except TimeoutError:
                    break
            else:
                pytest.fail("the loop goes on")
        found = metrics(daemon)
        assert value(found, "osc_loops_broken_total") >= 1
        assert value(found, "osc_sent_messages_total") >= 20


def test_names_of_others_cannot_break_the_text() -> None:
    evil = 'a"b\\c\nd{e="f"} 7'
    text = metrics_text({"part": {evil: {"n": 1}, "plain": {"n": 2.5}}}, [
        Family("clasp_edge_things", GAUGE, "Things \\ with\nnewlines.", ("part", "*", "n"), ("name",)),
    ])  # fmt: skip
    assert text.splitlines()[0] == r"# HELP clasp_edge_things Things \\ with\nnewlines."
    found = read_metrics(text)
    assert value(found, "things", name=evil) == 1
    assert value(found, "things", name="plain") == 2.5


def test_what_is_no_number_is_left_out() -> None:
    families = [
        Family("clasp_edge_a", GAUGE, "A.", ("part", "a")),
        Family("clasp_edge_b", GAUGE, "B.", ("part", "b")),
        Family("clasp_edge_c_total", COUNTER, "C.", ("part", "c")),
        Family("clasp_edge_d", GAUGE, "D.", ("part", "d"), ("text",)),
        Family("clasp_edge_gone", GAUGE, "Gone.", ("gone", "x")),
    ]
    found = read_metrics(metrics_text({"part": {"a": None, "b": True, "c": "text", "d": "text"}}, families))
    assert value(found, "b") == 1
    assert value(found, "d", text="text") == 1
    assert len(found) == 2


def test_a_crowd_does_not_drown_the_collector() -> None:
    report = {"part": {str(number): 1 for number in range(MAX_SAMPLES + 50)}}
    found = read_metrics(metrics_text(report, [Family("clasp_edge_x", GAUGE, "X.", ("part", "*"), ("name",))]))
    assert len(found) == MAX_SAMPLES
