"""The codec of `@clasp-to/core`: the messages that its client class has no methods for."""

from __future__ import annotations

import pytest
from support.client import WsClient
from support.daemon import Daemon
from support.javascript import JavaScriptCodec

from clasp_edge import wire

SIGNALS = [
    {"address": "/desk/fader/1", "type": "param", "datatype": "f64", "access": "rw"},
    {"address": "/desk/go", "type": "event"},
]


def test_announced_signals_are_found(codec: JavaScriptCodec) -> None:
    codec.send({"type": "ANNOUNCE", "namespace": "/desk", "signals": SIGNALS})
    assert codec.recv("ACK")["address"] == "/desk"
    codec.send({"type": "QUERY", "pattern": "/desk/**"})
    found = sorted(codec.recv("RESULT")["signals"], key=lambda signal: signal["address"])
    assert [{key: value for key, value in signal.items() if value is not None} for signal in found] == SIGNALS
    codec.send({"type": "QUERY", "pattern": "/nothing/**"})
    assert codec.recv("RESULT")["signals"] == []


def test_a_lock_keeps_others_out_until_it_is_released(daemon: Daemon, codec: JavaScriptCodec) -> None:
    codec.send({"type": "SET", "address": "/lock", "value": 1, "lock": True}, qos=1)
    assert codec.recv("ACK")["revision"] == 1
    with WsClient(daemon.ws_url) as other:
        other.hello()
        other.send(wire.Set("/lock", 2))
        refused = other.recv_type(wire.Error)
        assert (refused.code, refused.address) == (400, "/lock")
        assert refused.message.startswith("LockHeld")
        codec.send({"type": "SET", "address": "/lock", "value": 3, "unlock": True}, qos=1)
        assert codec.recv("ACK")["revision"] == 2
        other.send(wire.Set("/lock", 4))
        assert other.recv_type(wire.Ack).revision == 3


def test_it_is_told_who_holds_a_lock(daemon: Daemon, codec: JavaScriptCodec) -> None:
    with WsClient(daemon.ws_url) as holder:
        session = holder.hello().welcome.session
        holder.send(wire.Set("/lock", 1, lock=True))
        holder.recv_type(wire.Ack)
        codec.send({"type": "SET", "address": "/lock", "value": 2}, qos=1)
        refused = codec.recv("ERROR")
        assert (refused["code"], refused["address"]) == (400, "/lock")
        assert session in refused["message"]


def test_an_expected_revision_that_is_wrong_is_refused(codec: JavaScriptCodec) -> None:
    for expected, answer in ((None, "ACK"), (1, "ACK"), (1, "ERROR"), (2, "ACK")):
        codec.send({"type": "SET", "address": "/a", "value": 0} | ({"revision": expected} if expected else {}), qos=1)
        codec.recv(answer)


@pytest.mark.parametrize(("qos", "acknowledged"), [(0, False), (1, True), (2, True)])
def test_writes_are_acknowledged_when_they_ask_for_it(codec: JavaScriptCodec, qos: int, acknowledged: bool) -> None:
    codec.send({"type": "SET", "address": "/a", "value": 0}, qos=qos)
    codec.send({"type": "BUNDLE", "messages": [{"type": "SET", "address": "/b", "value": 0}]}, qos=qos)
    codec.send({"type": "PING"})
    for _ in range(2 * acknowledged):
        codec.recv("ACK")
    codec.recv("PONG")


def test_time_is_compared(codec: JavaScriptCodec) -> None:
    codec.send({"type": "SYNC", "t1": 1234567})
    answer = codec.recv("SYNC")
    assert answer["t1"] == 1234567
    assert 0 < answer["t2"] <= answer["t3"]


def test_types_and_rates_of_a_subscription(daemon: Daemon, codec: JavaScriptCodec) -> None:
    options = {"maxRate": 1000, "epsilon": 0.25, "history": 0, "window": 0}
    codec.send({"type": "SUBSCRIBE", "id": 9, "pattern": "/s/*", "types": ["stream"], "options": options})
    codec.send({"type": "PING"})
    codec.recv("PONG")
    with WsClient(daemon.ws_url) as other:
        other.hello()
        other.send(wire.Set("/s/a", 1))
        other.send(wire.Publish("/s/a", wire.SignalType.EVENT, value=1))
        other.send(wire.Publish("/s/a", wire.SignalType.STREAM, samples=[0.5, 1.5], rate=48000))
        other.sync()
    heard = codec.recv("PUBLISH")
    assert (heard["signal"], heard["samples"], heard["rate"]) == ("stream", [0.5, 1.5], 48000)


def test_greeting_twice_greets_twice(codec: JavaScriptCodec) -> None:
    codec.hello()
    codec.send({"type": "SET", "address": "/a", "value": 1}, qos=1)
    codec.recv("ACK")


def test_every_value_of_the_language_is_understood(daemon: Daemon, codec: JavaScriptCodec) -> None:
    values: list[wire.Value] = [None, True, 7, -(2**40), 0.25, "é", b"\x00\xff", [1, [2]], {"k": {"n": None}}]
    with WsClient(daemon.ws_url) as other:
        other.hello()
        for number, value in enumerate(values):
            other.send(wire.Set(f"/value/{number}", value))
        other.sync()
    for number, value in enumerate(values):
        codec.send({"type": "GET", "address": f"/value/{number}"})
        (param,) = codec.recv("SNAPSHOT")["params"]
        assert param["value"] == value
        assert param["revision"] == 1
