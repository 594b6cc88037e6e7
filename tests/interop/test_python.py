"""`clasp-to` from PyPI: its ordinary interface against the running daemon."""

from __future__ import annotations

import pytest
from clasp.client import ClaspError
from support.client import WsClient
from support.daemon import Daemon
from support.python_client import PythonClient
from support.received import same

from clasp_edge import wire

VALUES = [
    None,
    True,
    False,
    0,
    -1,
    2**63 - 1,
    -(2**63),
    -0.0,
    1.5,
    float("inf"),
    float("nan"),
    "",
    "Bühne 🎚",
    "x" * 60_000,
    b"",
    bytes(range(256)),
    [],
    [1, "two", None, [True, [b"\xff", 2.5]]],
    {},
    {"a": 1, "ü": {"b": [{"c": None}]}, "": False},
]


def test_sets_and_gets_every_value_it_can_express(daemon: Daemon, py: PythonClient) -> None:
    with PythonClient(daemon.ws_url) as writer:
        writer.connect()
        for number, value in enumerate(VALUES):
            writer.set(f"/value/{number}", value)
        writer.settle()
    for number, value in enumerate(VALUES):
        got = py.get(f"/value/{number}")
        assert same(got, value)
        assert type(got) is type(value)


def test_still_receives_after_its_own_set(daemon: Daemon, py: PythonClient) -> None:
    # Its receive loop ends on an ACK (wire.md 8), so there must be none for what it sends.
    heard = py.subscribe("/fader/*")
    py.set("/fader/1", 0.5)
    py.bundle([{"set": ["/fader/2", 0.25]}])
    assert heard.wait(2) == [("/fader/1", 0.5), ("/fader/2", 0.25)]
    with WsClient(daemon.ws_url) as other:
        other.hello()
        other.send(wire.Set("/fader/3", 1))
        other.recv_type(wire.Ack)
    assert heard.wait(3)[2] == ("/fader/3", 1)
    assert py.client.connected


def test_gets_what_is_there_when_it_connects_and_subscribes(daemon: Daemon, py: PythonClient) -> None:
    py.set("/scene/name", "storm")
    py.settle()
    with PythonClient(daemon.ws_url) as late:
        heard = late.connect().subscribe("/scene/**")
        assert ("/scene/name", "storm") in heard.wait()


def test_the_decorator_subscribes(daemon: Daemon, py: PythonClient) -> None:
    seen: list[tuple[str, object]] = []

    def register() -> None:
        @py.client.on("/deco/*", maxRate=1000, epsilon=0.1)
        def heard(value: object, address: str) -> None:
            seen.append((address, value))

    py.call(register)
    py.set("/deco/1", 2)
    py.settle()
    assert seen == [("/deco/1", 2)]


def test_unsubscribing_ends_the_deliveries(daemon: Daemon, py: PythonClient) -> None:
    heard = py.subscribe("/a/*")
    py.unsubscribe()
    py.set("/a/b", 1)
    py.settle()
    assert heard.items == []
    assert py.client.cached("/a/b") is None


def test_events_and_streams_reach_others_and_not_the_sender(daemon: Daemon, py: PythonClient) -> None:
    own = py.subscribe("/cue/**")
    with PythonClient(daemon.ws_url) as other:
        heard = other.connect().subscribe("/cue/**")
        py.emit("/cue/go", {"cue": "intro", "fade": 2.5})
        py.emit("/cue/bare")
        py.stream("/cue/level", 0.75)
        assert heard.wait(3) == [("/cue/go", {"cue": "intro", "fade": 2.5}), ("/cue/bare", None), ("/cue/level", 0.75)]
    py.settle()
    assert own.items == []


def test_gestures_and_timelines_arrive_as_what_they_are(daemon: Daemon, py: PythonClient) -> None:
    with WsClient(daemon.ws_url) as other:
        other.hello()
        other.send(wire.Subscribe(1, "/touch/*"))
        other.sync()
        py.gesture("/touch/0", 5, "start", {"x": 1})
        py.gesture("/touch/0", 5, "end", {"x": 2})
        py.timeline("/touch/lamp", [{"time": 0, "value": 0.0}])
        start, end, timeline = (other.recv_type(wire.Publish) for _ in range(3))
    assert (start.signal, start.phase, start.id, start.value) == (
        wire.SignalType.GESTURE,
        wire.Phase.START,
        5,
        {"x": 1},
    )
    assert (end.phase, end.value) == (wire.Phase.END, {"x": 2})
    # The compact encoding has no place for keyframes (wire.md 9.2): they are lost in the sending client.
    assert (timeline.signal, timeline.value) == (wire.SignalType.TIMELINE, wire.ABSENT)
    assert timeline.timestamp is not None


def test_a_bundle_is_applied_in_its_order(daemon: Daemon, py: PythonClient) -> None:
    with PythonClient(daemon.ws_url) as other:
        heard = other.connect().subscribe("/show/**")
        py.bundle([{"set": ["/show/a", 1]}, {"emit": ["/show/cue", "go"]}, {"set": ["/show/b", [2, None, "ü"]]}])
        assert heard.wait(3) == [("/show/a", 1), ("/show/cue", "go"), ("/show/b", [2, None, "ü"])]
    assert py.get("/show/b") == [2, None, "ü"]


def test_bytes_in_a_bundle_are_text_or_refused(
    daemon: Daemon, py: PythonClient, capfd: pytest.CaptureFixture[str]
) -> None:
    # Bundles leave this client as MessagePack, where the protocol has no bytes (wire.md 3.3).
    py.bundle([{"set": ["/bundle/ascii", b"abc"]}])
    py.bundle([{"set": ["/bundle/before", 1]}, {"set": ["/bundle/binary", b"\xff"]}])
    assert py.get("/bundle/ascii") == "abc"
    assert "CLASP error: 101" in capfd.readouterr().out
    with pytest.raises(ClaspError, match="Get timeout"):
        py.get("/bundle/before", timeout=0.3)


def test_a_bundle_for_later_runs_later(daemon: Daemon, py: PythonClient) -> None:
    heard = py.subscribe("/show/*")
    py.bundle([{"set": ["/show/late", 1]}], at=py.time() + 300_000)
    py.set("/show/early", 1)
    assert heard.wait(2) == [("/show/early", 1), ("/show/late", 1)]


def test_announced_signals_are_found(daemon: Daemon, py: PythonClient) -> None:
    signals = [
        wire.Signal("/desk/fader/1", wire.SignalType.PARAM, datatype="f64", access="rw"),
        wire.Signal("/desk/go", wire.SignalType.EVENT),
    ]
    with WsClient(daemon.ws_url) as other:
        other.hello()
        other.send(wire.Announce("/desk", signals))
        other.recv_type(wire.Ack)
    found = sorted(py.query("/desk/**"), key=lambda signal: str(signal["address"]))
    assert found == [
        {"address": "/desk/fader/1", "type": "param", "datatype": "f64", "access": "rw"},
        {"address": "/desk/go", "type": "event", "datatype": None, "access": None},
    ]
    assert py.query("/nothing/**") == []


def test_a_time_to_live_is_kept(daemon: Daemon, py: PythonClient) -> None:
    with WsClient(daemon.ws_url) as other:
        other.hello()
        other.send(wire.Subscribe(1, "/ttl/*"))
        other.sync()
        py.set("/ttl/sliding", 1, ttl=60)
        py.set("/ttl/absolute", 1, ttl=60, absolute=True)
        py.set("/ttl/never", 1, ttl=0)
        assert [other.recv_type(wire.Set).ttl for _ in range(3)] == [
            wire.Ttl(wire.TtlMode.SLIDING, 60),
            wire.Ttl(wire.TtlMode.ABSOLUTE, 60),
            wire.Ttl(wire.TtlMode.NEVER),
        ]


def test_a_get_of_a_missing_address_is_refused_and_hurts_nothing(
    daemon: Daemon, py: PythonClient, capfd: pytest.CaptureFixture[str]
) -> None:
    # The client prints an ERROR and waits on: what was asked for and the ERROR are not brought together.
    heard = py.subscribe("/not/*")
    with pytest.raises(ClaspError, match="Get timeout"):
        py.get("/not/there", timeout=0.3)
    assert "CLASP error: 201" in capfd.readouterr().out
    py.set("/not/there", 1)
    assert heard.wait() == [("/not/there", 1)]
    assert py.client.connected


def test_a_locked_param_is_refused_and_the_loop_goes_on(
    daemon: Daemon, py: PythonClient, capfd: pytest.CaptureFixture[str]
) -> None:
    heard = py.subscribe("/lock")
    with WsClient(daemon.ws_url) as other:
        other.hello()
        other.send(wire.Set("/lock", 1, lock=True))
        other.recv_type(wire.Ack)
        py.set("/lock", 2)
        py.settle()
        other.send(wire.Set("/lock", 3, unlock=True))
        assert heard.wait(2) == [("/lock", 1), ("/lock", 3)]
    assert "CLASP error: 400 - LockHeld" in capfd.readouterr().out
