"""Bind addresses: what is read, what is refused, and that they print as they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.config.listen import Listen, parse_listen


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("0.0.0.0:7330", "0.0.0.0", 7330),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("[::1]:7330", "::1", 7330),
        ("[::]:65535", "::", 65535),
        (":7330", "", 7330),
        ("localhost:7330", "localhost", 7330),
        ("stage-box.local:80", "stage-box.local", 80),
    ],
)
def test_address_is_read_and_prints_as_written(text: str, host: str, port: int) -> None:
    listen = parse_listen(text)
    assert listen == Listen(host, port)
    assert str(listen) == text


def test_off() -> None:
    assert parse_listen("off") is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "host:port"),
        ("7330", "host:port"),
        ("Off", "host:port"),
        ("localhost", "host:port"),
        ("localhost:", "port must be"),
        ("localhost:http", "port must be"),
        ("localhost:65536", "port must be"),
        ("localhost:-1", "port must be"),
        ("localhost:\uff17", "port must be"),
        ("::1:7330", "brackets"),
        ("ws://0.0.0.0:7330", "no URL"),
        ("[::g]:7330", "not an IPv6 address"),
        ("[127.0.0.1]:7330", "not an IPv6 address"),
        ("300.1.1.1:7330", "not an IPv4 address"),
        ("1.2.3:7330", "not an IPv4 address"),
        ("my host:7330", "not a host name"),
        ("ws//host:7330", "not a host name"),
    ],
)
def test_anything_else_is_refused_with_a_reason(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_listen(text)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_address_survives_printing(address: object, port: int) -> None:
    listen = Listen(str(address), port)
    assert parse_listen(str(listen)) == listen


@given(st.text())
def test_no_text_does_more_than_be_refused(text: str) -> None:
    try:
        listen = parse_listen(text)
    except ValueError:
        return
    assert listen is None or 0 <= listen.port <= 65535
