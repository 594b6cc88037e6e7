"""URLs of routers: what they mean, how they print, and the sentence for what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.config.endpoint import Endpoint, needs_tls, parse_endpoint


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("ws://hub:7330", Endpoint("ws", "hub", 7330, "/")),
        ("WS://hub.local:7330/", Endpoint("ws", "hub.local", 7330, "/")),
        ("wss://hub.example", Endpoint("wss", "hub.example", 443, "/")),
        ("wss://hub:8443/clasp?room=1", Endpoint("wss", "hub", 8443, "/clasp?room=1")),
        ("ws://[2001:db8::1]:80/a%20b", Endpoint("ws", "2001:db8::1", 80, "/a%20b")),
        ("wss://[::1]", Endpoint("wss", "::1", 443, "/")),
        ("tcp://10.0.0.1:7331", Endpoint("tcp", "10.0.0.1", 7331, "")),
        ("tcp://hub:7331/", Endpoint("tcp", "hub", 7331, "")),
    ],
)
def test_endpoints(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint
    assert parse_endpoint(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "hub:7330",
            'a router is "ws://host:port", "wss://host", "tcp://host:port", "quic://host:port" or "discover:NAME"',
        ),
        ("http://hub:7330", 'a router is "ws://host:port"'),
        ("ws://hub", 'the port is missing, such as in "ws://hub:7330"'),
        ("tcp://", 'the port is missing, such as in "tcp://host:7330"'),
        ("ws://:7330", 'a router has a host: "ws://:7330"'),
        ("ws://hub:0", 'a router has a port from 1 to 65535: "ws://hub:0"'),
        ("ws://hub:70000", 'must be a whole number from 0 to 65535, not "70000" (in ws://hub:70000)'),
        ("ws://2001:db8::1:7330", "an IPv6 address goes in brackets"),
        ("ws://a b:7330", '"a b" is not a host name'),
        ("tcp://hub:7331/clasp", 'a tcp:// address has no path: "tcp://hub:7331/clasp"'),
        ("ws://hub:7330/a b", 'a character that must be written as "%..": "ws://hub:7330/a b"'),
        ("ws://hub:7330/\r\nHost: x", "a character that must be written"),
        ("ws://hub:7330/#top", 'a part after "#" has no meaning here'),
        ("ws://hub:7330?x=1", 'a query comes after a path ("/?...")'),
    ],
)
def test_what_is_no_endpoint(text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  # the sentence is compared below
        parse_endpoint(text)
    assert sentence in str(refusal.value)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="has no user name or password; the token has a key of its own") as refusal:
        parse_endpoint("ws://me:secret@hub:7330")
    assert "secret" not in str(refusal.value)


@given(
    st.text()
    | st.builds("{}://{}:{}{}".format, st.sampled_from(["ws", "wss", "tcp"]), st.text(), st.integers(), st.text())
)
def test_no_text_does_more_than_be_refused(text: str) -> None:
    try:
        endpoint = parse_endpoint(text)
    except ValueError as refusal:
        assert str(refusal)
    else:
        assert parse_endpoint(str(endpoint)) == endpoint


def test_tls_is_needed_where_one_endpoint_needs_it() -> None:
    assert needs_tls(["ws://hub:7330", "wss://hub"])
    assert not needs_tls(["ws://hub:7330", "tcp://hub:7331"])
    assert not needs_tls([])
