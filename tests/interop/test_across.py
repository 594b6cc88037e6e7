"""Clients of different origin on one daemon: what one says the others hear, and find again."""

from __future__ import annotations

from typing import Any

import pytest
from support.client import TcpClient, WsClient
from support.daemon import Daemon
from support.javascript import JavaScriptClient
from support.python_client import PythonClient
from support.received import same

from clasp_edge import wire

VALUES = [None, True, False, 0, -3, 2.5, "", "Bühne", b"\x00\xff", [1, [None, "x"]], {"k": {"n": [True]}}]


def test_javascript_sets_python_sees_javascript_gets(js: JavaScriptClient, py: PythonClient) -> None:
    heard = py.subscribe("/from/js/*")
    for number, value in enumerate(VALUES):
        js.set(f"/from/js/{number}", value)
    items = heard.wait(len(VALUES))
    assert all(same(seen, value) for (_, seen), value in zip(items, VALUES, strict=True)), items
    for number, value in enumerate(VALUES):
        assert same(js.get(f"/from/js/{number}"), value)


def test_python_sets_javascript_sees_python_gets(js: JavaScriptClient, py: PythonClient) -> None:
    heard = js.subscribe("/from/py/*")
    for number, value in enumerate(VALUES):
        py.set(f"/from/py/{number}", value)
    items = heard.wait(len(VALUES))
    assert all(same(seen, value) for (_, seen), value in zip(items, VALUES, strict=True)), items
    for number, value in enumerate(VALUES):
        assert same(py.get(f"/from/py/{number}"), value)


def test_one_sets_and_the_other_overwrites(js: JavaScriptClient, py: PythonClient) -> None:
    js_heard, py_heard = js.subscribe("/duel"), py.subscribe("/duel")
    for round_ in range(10):
        js.set("/duel", round_)
        py_heard.wait(2 * round_ + 1)
        py.set("/duel", round_ + 0.5)
        js_heard.wait(2 * round_ + 2)
    expected = [("/duel", step / 2) for step in range(20)]
    assert js_heard.wait(20) == expected
    assert py_heard.wait(20) == expected


def test_events_cross_over(js: JavaScriptClient, py: PythonClient) -> None:
    js_heard, py_heard = js.subscribe("/cue/*"), py.subscribe("/cue/*")
    js.emit("/cue/js", {"n": 1})
    assert py_heard.wait() == [("/cue/js", {"n": 1})]
    py.emit("/cue/py", {"n": 2})
    assert js_heard.wait() == [("/cue/py", {"n": 2})]
    py.stream("/cue/level", 0.5)
    assert js_heard.wait(2)[1] == ("/cue/level", 0.5)
    py.gesture("/cue/touch", 4, "start", {"x": 1})
    assert js_heard.wait(3)[2] == ("/cue/touch", {"x": 1, "phase": "start", "gestureId": 4})


def test_bundles_cross_over(js: JavaScriptClient, py: PythonClient) -> None:
    js_heard, py_heard = js.subscribe("/mix/**"), py.subscribe("/mix/**")
    js.bundle([{"set": ["/mix/1", 1]}, {"set": ["/mix/2", "two"]}])
    py_heard.wait(2)
    py.bundle([{"set": ["/mix/3", [3]]}, {"set": ["/mix/4", {"four": 4}]}])
    expected = [("/mix/1", 1), ("/mix/2", "two"), ("/mix/3", [3]), ("/mix/4", {"four": 4})]
    assert js_heard.wait(4) == expected
    assert py_heard.wait(4) == expected


def test_four_transports_and_clients_see_one_order(daemon: Daemon, js: JavaScriptClient, py: PythonClient) -> None:
    with WsClient(daemon.ws_url) as raw, TcpClient(daemon.tcp_address) as tcp:
        for client in (raw, tcp):
            client.hello()
            client.send(wire.Subscribe(1, "/race/*"))
            client.sync()
        js_heard, py_heard = js.subscribe("/race/*"), py.subscribe("/race/*")
        for number in range(50):
            js.set("/race/a", f"js {number}")
            py.set("/race/a", f"py {number}")
            raw.send(wire.Set("/race/a", f"raw {number}"), qos=0)
            tcp.send(wire.Set("/race/a", f"tcp {number}"), qos=0)
        seen = [[raw.recv_type(wire.Set) for _ in range(200)], [tcp.recv_type(wire.Set) for _ in range(200)]]
        assert seen[0] == seen[1]
        assert [message.revision for message in seen[0]] == list(range(1, 201))
        values = [("/race/a", message.value) for message in seen[0]]
        assert js_heard.wait(200) == values
        assert py_heard.wait(200) == values


@pytest.mark.parametrize("transport", ["ws", "tcp"])
def test_a_raw_client_sees_both(daemon: Daemon, js: JavaScriptClient, py: PythonClient, transport: str) -> None:
    with WsClient(daemon.ws_url) if transport == "ws" else TcpClient(daemon.tcp_address) as raw:
        raw.hello()
        raw.send(wire.Subscribe(1, "/v/*"))
        raw.sync()
        js.set("/v/js", 1)
        assert raw.recv() == wire.Set("/v/js", 1.0, revision=1)
        py.set("/v/py", 1)
        assert raw.recv() == wire.Set("/v/py", 1, revision=1)
        raw.send(wire.Set("/v/raw", 2**60))
        raw.sync()
        assert py.get("/v/raw") == 2**60
        # JavaScript numbers are doubles: it reads the nearest one.
        assert float(js.get("/v/raw")) == 2.0**60


def test_a_late_joiner_gets_a_state_of_many_snapshots(daemon: Daemon) -> None:
    # More than the 800 params of one SNAPSHOT, and two values of which each fills a frame (router.md 3.6).
    state: dict[str, wire.Value] = {f"/state/{number}/of/a/desk": number for number in range(3000)}
    state |= {"/state/long/1": "x" * 40_000, "/state/long/2": "y" * 40_000}
    with WsClient(daemon.ws_url) as raw:
        raw.hello()
        for address, value in state.items():
            raw.send(wire.Set(address, value), qos=0)
        raw.sync()

    def whole(items: list[tuple[str, Any]]) -> bool:
        return len(items) >= len(state) and dict(items) == state

    with JavaScriptClient(daemon.ws_url) as js, PythonClient(daemon.ws_url) as py:
        js.connect()
        js.subscribe("/state/**").wait_until(whole)
        py.connect()
        py.subscribe("/state/**").wait_until(whole)
