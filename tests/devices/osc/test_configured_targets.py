"""Which senders belong to which configured target."""

from __future__ import annotations

from typing import Any, cast

import pytest

from clasp_edge.config.model import OscTarget
from clasp_edge.devices.osc.configured_targets import ConfiguredTarget
from clasp_edge.devices.osc.target import Target


def static(host: str, port: int = 9000, **keys: Any) -> ConfiguredTarget:
    """A target whose host has been found. Who it is, is asked without ever sending it anything."""
    config = OscTarget(name="desk", host=host, port=port, patterns=("/**",), **keys).as_device()
    found = ConfiguredTarget(config, cast("Target", None))
    found.host = host
    return found


SURE, LIKELY, NO = 2, 1, 0


@pytest.mark.parametrize(
    ("target", "host", "port", "expected"),
    [
        (static("10.0.0.5"), "10.0.0.5", 9000, SURE),
        (static("10.0.0.5"), "10.0.0.5", 51234, LIKELY),
        (static("10.0.0.5"), "10.0.0.6", 9000, NO),
        (static("127.0.0.1"), "127.0.0.1", 9000, SURE),
        (static("127.0.0.1"), "127.0.0.1", 51234, NO),
        (static("::1"), "::1", 51234, NO),
        (static("fe80::1"), "fe80::1", 51234, LIKELY),
        (static("10.0.0.5", sends_from="10.0.0.9"), "10.0.0.9", 1, SURE),
        (static("10.0.0.5", sends_from="10.0.0.9"), "10.0.0.5", 9000, NO),
        (static("10.0.0.5", sends_from="10.0.0.9:7"), "10.0.0.9", 7, SURE),
        (static("10.0.0.5", sends_from="10.0.0.9:7"), "10.0.0.9", 8, NO),
        (static("::1", sends_from="fe80::2"), "fe80::2", 8, SURE),
        (static("::1", sends_from="[fe80::2]:7"), "fe80::2", 7, SURE),
        (static("::1", sends_from="[fe80::2]:7"), "fe80::2", 8, NO),
    ],
)
def test_how_surely_a_sender_is_the_target(target: ConfiguredTarget, host: str, port: int, expected: int) -> None:
    assert target.sends_as(host, port) == expected
