"""DNS messages: what python-zeroconf writes is read, and whatever strangers send is read or refused in bounded work."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zeroconf import DNSIncoming

from clasp_edge.discovery import dns
from clasp_edge.discovery.router import FoundRouter, understood
from clasp_edge.discovery.services import services

HEADER = struct.pack("!6H", 7, 0x8400, 0, 1, 0, 0)


def test_the_question_is_one() -> None:
    (question,) = DNSIncoming(dns.query("_clasp._tcp.local", dns.PTR, 7)).questions
    assert (question.name, question.type, question.unicast) == ("_clasp._tcp.local.", dns.PTR, True)


def record(name: bytes, kind: int, data: bytes) -> bytes:
    return HEADER + name + struct.pack("!2HIH", kind, 1, 120, len(data)) + data


def test_names_may_be_compressed() -> None:
    data = record(b"\x06_clasp\x04_tcp\x05local\0", dns.PTR, b"\x05a.b c\xc0\x0c")
    assert dns.records(data) == [dns.Record("_clasp._tcp.local", dns.PTR, "a\\.b c._clasp._tcp.local")]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEADER,
        record(b"\xc0\x0c", dns.PTR, b"\0"),
        record(b"\xc0\xff", dns.PTR, b"\0"),
        record(b"\x41" + b"a" * 65 + b"\0", dns.PTR, b"\0"),
        record(b"\x3f" + b"a" * 63, dns.PTR, b"")[:-10],
        HEADER[:4] + b"\xff\xff" + HEADER[6:],
        record(b"\0", dns.TXT, b"")[:-2] + b"\xff\xff",
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(dns.Malformed):
        dns.records(data)


@given(st.binary(max_size=600))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(dns.Malformed):
        for each in dns.records(HEADER[:6] + struct.pack("!3H", 3, 0, 0) + data):
            assert len(each.name) <= 4 * dns.MAX_NAME_BYTES
    dns.texts(data)


def test_the_first_of_a_key_counts_and_what_is_no_pair_is_passed_over() -> None:
    assert dns.texts(b"\x03a=1\x03a=2\x01b\x03c=\xff\x00\xffd=") == {"a": "1", "c": "\ufffd", "d": ""}


@given(st.dictionaries(st.sampled_from(["ws", "tls", "path", "id", "name", "fingerprint"]), st.text(max_size=300)))
def test_what_a_stranger_says_becomes_a_router_that_can_be_shown(said: dict[str, str]) -> None:
    router = understood(said, "x", "10.0.0.1", "mdns")
    assert isinstance(router, FoundRouter)
    assert router.url.startswith(("ws://10.0.0.1:", "wss://10.0.0.1:"))
    assert router.url.isascii()
    assert all(text.isprintable() and len(text) <= 200 for text in (router.name, router.id, router.fingerprint))


def test_listeners_of_loopback_are_not_announced() -> None:
    said = {"version": "2"}
    assert services(["ws://127.0.0.1:7330", "mqtt://[::1]:1883"], said) == []
    found = services(["ws://0.0.0.0:7330", "mqtt://10.0.0.4:1884", "osc://[::]:8000"], said)
    assert [(each.type, each.port, each.host) for each in found] == [
        ("_clasp._tcp", 7330, "0.0.0.0"),
        ("_http._tcp", 7330, "0.0.0.0"),
        ("_osc._udp", 8000, ""),
        ("_mqtt._tcp", 1884, "10.0.0.4"),
    ]


@pytest.mark.parametrize(
    "port", ["0", "65536", "000001999", "0" * 6 + "1", "1" * 5000, "00001" + "0" * 5000, "-1", "\u0661"]
)
def test_what_is_no_port_is_not_taken_for_one(port: str) -> None:
    """An answer may be anybody's, and a port above 65535 would be an error only where it is connected to."""
    router = understood({"ws": port, "tls": port}, "x", "10.0.0.1", "broadcast")
    assert router is not None
    assert (router.ws_port, router.tls_port) == (7330, 0)
