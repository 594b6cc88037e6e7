"""Answers to broadcasts: what the reference's finder expects, and no way to have us send much to somebody else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge import wire
from clasp_edge.discovery.answer import ANSWERS_PER_SECOND, FINDER, HOST_ANSWERS_PER_SECOND, MAX_HOSTS, Answerer
from clasp_edge.discovery.router import described

REFERENCE_HELLO = bytes.fromhex("530100100101000009446973636f766572790000")
SAID = described("stage left", ws_port=7330, tls_port=7443, router_id="edge-1", fingerprint="sha256:" + "0" * 64)


class Rig:
    """An answerer, its clock, and what it has sent."""

    def __init__(self, said: dict[str, str] = SAID) -> None:
        self.now_s = 0.0
        self.sent: list[tuple[bytes, Any]] = []
        self.answerer = Answerer(
            lambda data, at: self.sent.append((data, at)), lambda: said, lambda: self.now_s, lambda: 7
        )

    def ask(self, data: bytes, host: str = "10.0.0.9", port: int = 5000) -> wire.Message | None:
        before = len(self.sent)
        self.answerer.received(data, (host, port))
        if len(self.sent) == before:
            return None
        assert self.sent[-1][1] == (host, port)
        return wire.decode(self.sent[-1][0])[1]


def padded(length: int) -> bytes:
    hello = wire.Hello(1, FINDER, ())
    return wire.encode(wire.Hello(1, FINDER + " " * (length - len(wire.encode(hello))), ()))


def test_the_reference_gets_a_welcome() -> None:
    answer = Rig().ask(REFERENCE_HELLO)
    assert isinstance(answer, wire.Welcome)
    assert (answer.version, answer.name, answer.time, answer.token) == (1, "stage left", 7, None)
    assert set(answer.features) == {"param", "event", "stream", "gesture", "timeline"}
    assert len(answer.session) == 36


def test_a_finder_of_ours_is_told_more_for_as_many_bytes() -> None:
    rig = Rig()
    told = rig.ask(padded(560))
    assert isinstance(told, wire.Welcome)
    assert "tls=7443 id=edge-1 fingerprint=sha256:" in (told.token or "")
    assert len(rig.sent[-1][0]) <= 560
    short = rig.ask(padded(60))
    assert isinstance(short, wire.Welcome)
    assert short.token is None


def test_the_longest_name_makes_no_long_answer_to_a_short_question() -> None:
    rig = Rig(described("n" * 256, ws_port=7330))
    rig.ask(REFERENCE_HELLO)
    assert len(rig.sent[-1][0]) <= 5 * len(REFERENCE_HELLO)


@pytest.mark.parametrize("host", ["8.8.8.8", "0.0.0.0", "2001:4860:4860::8888", "::ffff:8.8.8.8", "::", "x"])
def test_nobody_from_afar_is_answered(host: str) -> None:
    assert Rig().ask(REFERENCE_HELLO, host) is None


@pytest.mark.parametrize(
    "host", ["192.168.1.4", "127.0.0.1", "169.254.3.4", "fe80::1%eth0", "::ffff:10.0.0.1", "fd00::1"]
)
def test_everybody_near_is(host: str) -> None:
    assert Rig().ask(REFERENCE_HELLO, host) is not None


def test_one_host_is_not_answered_without_end_and_others_are() -> None:
    rig = Rig()
    answered = sum(rig.ask(REFERENCE_HELLO) is not None for _ in range(1000))
    assert answered <= 2 * HOST_ANSWERS_PER_SECOND
    assert rig.ask(REFERENCE_HELLO, "10.0.0.10") is not None
    rig.now_s += 1.0
    assert rig.ask(REFERENCE_HELLO) is not None


def test_forged_sources_share_one_rate_and_a_bounded_table() -> None:
    rig = Rig()
    for number in range(5000):
        rig.ask(REFERENCE_HELLO, f"10.1.{number >> 8}.{number & 255}")
    assert len(rig.sent) <= 2 * ANSWERS_PER_SECOND
    assert len(rig.answerer._hosts) <= MAX_HOSTS


@given(st.binary(max_size=700))
def test_anything_else_is_not_answered(data: bytes) -> None:
    rig = Rig()
    answer = rig.ask(b"\x53" + data)
    if answer is not None:
        assert isinstance(wire.decode(b"\x53" + data)[1], wire.Hello)


def test_an_answer_is_not_answered() -> None:
    rig = Rig()
    rig.ask(padded(560))
    assert rig.ask(rig.sent[-1][0]) is None
