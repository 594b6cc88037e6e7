"""`@clasp-to/core` from npm under Node: its whole public interface against the running daemon."""

from __future__ import annotations

import subprocess
import time
import uuid

import pytest
from support.daemon import Daemon
from support.javascript import CallFailed, JavaScriptClient
from support.received import same

VALUES = [
    None,
    True,
    False,
    0,
    -0.0,
    1,
    -1.5,
    2**53 - 1,
    1e300,
    float("inf"),
    float("nan"),
    "",
    "Bühne 🎚",
    "x" * 60_000,
    b"",
    b"\xff" * 60_000,
    bytes(range(256)),
    [],
    [1, "two", None, [True, [b"\xff"]]],
    {},
    {"a": 1, "ü": {"b": [{"c": None}]}, "": False},
]


def has_native_websocket() -> bool:
    try:
        return not subprocess.run(
            ["node", "--experimental-websocket", "--eval", "new WebSocket('ws://127.0.0.1:9').onerror = () => {}"],
            capture_output=True,
            timeout=10,
            check=False,
        ).returncode
    except FileNotFoundError:
        return False


def test_connects_with_every_websocket_that_this_node_offers(daemon: Daemon) -> None:
    """The `ws` package; from Node 20.10 on its own one as well."""
    for native in [False, True] if has_native_websocket() else [False]:
        with JavaScriptClient(daemon.ws_url, native=native) as client:
            client.connect()
            assert uuid.UUID(client.call("session")).version == 4
            client.set("/a", 1)
            assert client.get("/a") == 1


def test_closing_is_not_taken_for_a_fault(daemon: Daemon, js: JavaScriptClient) -> None:
    js.close()
    js.events.wait_for(lambda event: event["event"] == "disconnect")
    assert not [event for event in js.events.items if event["event"] in ("error", "reconnect")]


def test_sets_and_gets_every_value_it_can_express(daemon: Daemon, js: JavaScriptClient) -> None:
    with JavaScriptClient(daemon.ws_url) as writer:
        writer.connect()
        for number, value in enumerate(VALUES):
            writer.set(f"/value/{number}", value)
        writer.settle()
    for number, value in enumerate(VALUES):
        assert same(js.get(f"/value/{number}"), value)


def test_hears_its_own_sets_once_and_is_acknowledged(js: JavaScriptClient) -> None:
    heard = js.subscribe("/fader/*")
    for number in range(5):
        js.set(f"/fader/{number}", number)
    js.settle()
    assert heard.items == [(f"/fader/{number}", number) for number in range(5)]
    assert [text for text in js.console("debug") if "/fader/4" in text] == ["CLASP ACK received: /fader/4 revision: 1"]


def test_gets_what_is_there_when_it_subscribes(daemon: Daemon, js: JavaScriptClient) -> None:
    js.set("/scene/name", "storm")
    js.settle()
    with JavaScriptClient(daemon.ws_url) as late:
        late.connect()
        assert late.subscribe("/scene/**").wait() == [("/scene/name", "storm")]


def test_unsubscribing_ends_the_callbacks(js: JavaScriptClient) -> None:
    first = js.subscribe("/a/*")
    second = js.subscribe("/a/b")
    js.unsubscribe(first)
    js.set("/a/b", 1)
    assert second.wait() == [("/a/b", 1)]
    assert first.items == []


def test_events_reach_others_and_not_the_sender(daemon: Daemon, js: JavaScriptClient) -> None:
    own = js.subscribe("/cue/**")
    with JavaScriptClient(daemon.ws_url) as other:
        heard = other.connect().subscribe("/cue/**")
        payloads: list[object] = [{"cue": "intro", "fade": 2.5}, 0, False, "", "go", [1, 2], None]
        for payload in payloads:
            js.emit("/cue/go", payload)
        items = heard.wait(len(payloads))
    assert all(same(value, payload) for (_, value), payload in zip(items, payloads, strict=True)), items
    js.settle()
    assert own.items == []


def test_streams_arrive_in_order(daemon: Daemon, js: JavaScriptClient) -> None:
    with JavaScriptClient(daemon.ws_url) as other:
        heard = other.connect().subscribe("/sensor/*")
        for number in range(100):
            js.stream("/sensor/x", number / 4)
        assert [value for _, value in heard.wait(100)] == [number / 4 for number in range(100)]


def test_gestures_keep_their_phases_and_end_where_they_ended(daemon: Daemon, js: JavaScriptClient) -> None:
    with JavaScriptClient(daemon.ws_url) as other:
        heard = other.connect().subscribe("/touch/*")
        js.gesture("/touch/0", 7, "start", {"x": 0})
        for x in range(1, 20):
            js.gesture("/touch/0", 7, "move", {"x": x})
        js.gesture("/touch/0", 7, "end", {"x": 20})
        heard.wait_for(lambda item: item[1]["phase"] == "end")
        values = [value for _, value in heard.items]
    assert values[0] == {"x": 0, "phase": "start", "gestureId": 7}
    assert values[-1] == {"x": 20, "phase": "end", "gestureId": 7}
    moves = values[1:-1]
    assert all(move["phase"] == "move" and move["gestureId"] == 7 for move in moves)
    # Moves may be thinned out, but neither their order nor the last one may suffer.
    assert [move["x"] for move in moves] == sorted({move["x"] for move in moves})
    assert moves[-1]["x"] == 19


def test_a_gesture_whose_owner_vanishes_is_cancelled(daemon: Daemon, js: JavaScriptClient) -> None:
    heard = js.subscribe("/touch/*")
    with JavaScriptClient(daemon.ws_url) as owner:
        owner.connect().gesture("/touch/0", 3, "start", {"x": 1})
        heard.wait()
    assert heard.wait(2)[1][1]["phase"] == "cancel"


def test_a_timeline_arrives_without_its_keyframes(daemon: Daemon, js: JavaScriptClient) -> None:
    # The compact encoding has no place for them (wire.md 9.2), so they are lost in the sending client.
    with JavaScriptClient(daemon.ws_url) as other:
        heard = other.connect().subscribe("/lamp/*")
        js.timeline("/lamp/1", [{"time": 0, "value": 0}, {"time": 1_000_000, "value": 1}])
        assert heard.wait() == [("/lamp/1", None)]


def test_a_bundle_is_applied_in_its_order_and_acknowledged_once(daemon: Daemon, js: JavaScriptClient) -> None:
    with JavaScriptClient(daemon.ws_url) as other:
        heard = other.connect().subscribe("/show/**")
        js.bundle([{"set": ["/show/a", 1]}, {"emit": ["/show/cue", "go"]}, {"set": ["/show/b", [2]]}])
        assert heard.wait(3) == [("/show/a", 1), ("/show/cue", "go"), ("/show/b", [2])]
    js.settle()
    assert js.get("/show/b") == [2]
    acknowledged = [text for text in js.console("debug") if "/settled" not in text]
    assert acknowledged == ["CLASP ACK received: undefined revision: 1"]


def test_a_bundle_for_later_runs_later_on_the_clock_that_the_client_was_given(
    daemon: Daemon, js: JavaScriptClient
) -> None:
    heard = js.subscribe("/show/*")
    js.bundle([{"set": ["/show/late", 1]}], at=js.time() + 300_000)
    js.set("/show/early", 1)
    assert heard.wait(2) == [("/show/early", 1), ("/show/late", 1)]


def test_options_of_a_subscription_are_accepted(daemon: Daemon, js: JavaScriptClient) -> None:
    heard = js.subscribe("/knob", epsilon=0.5)
    for value in (1, 1.1, 1.2, 2):
        js.set("/knob", value)
    js.settle()
    assert heard.items == [("/knob", 1), ("/knob", 2)]


def test_a_get_of_a_missing_address_is_refused_and_hurts_nothing(js: JavaScriptClient) -> None:
    # The client pays no attention to what an ERROR is about: it keeps it for `getLastError` and waits on.
    with pytest.raises(CallFailed, match="Timeout"):
        js.get("/not/there")
    error = js.call("lastError")
    assert (error["code"], error["address"]) == (201, "/not/there")
    assert not [event for event in js.events.items if event["event"] in ("error", "disconnect")]
    js.set("/not/there", 1)
    js.settle()
    assert js.get("/not/there") == 1


def test_a_refused_write_is_told_and_the_connection_stays(js: JavaScriptClient) -> None:
    js.set("no/slash", 1)
    js.settle()
    error = js.call("lastError")
    assert (error["code"], error["address"]) == (200, "no/slash")


def test_a_burst_above_the_rate_limit_is_told_and_the_connection_stays() -> None:
    with Daemon(messages_per_second=20) as daemon, JavaScriptClient(daemon.ws_url) as client:
        client.connect()
        for number in range(100):
            client.stream("/burst", number)
        complaints = client.events.wait_for(lambda event: event["event"] == "console" and event["level"] == "error")
        assert complaints["text"].startswith("CLASP error 429")
        time.sleep(1.1)  # until it may send again
        client.settle()
        assert client.call("connected")
