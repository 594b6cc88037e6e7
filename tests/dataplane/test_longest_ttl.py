"""The longest sliding ttl that the wire can say is a ttl, not the absence of one (wire.md 2.3)."""

from __future__ import annotations

from support.plane_rig import Rig, set_payload


def test_the_longest_ttl_outlives_the_server_wide_one() -> None:
    rig = Rig()
    writer = rig.line(b"writer")
    rig.plane.param_ttl_s = 5
    writer.feed([set_payload(b"/p", 1, ttl=0x7FFF_FFFF)])
    (first,) = rig.control.armed_ms
    writer.feed([set_payload(b"/q", 1)])
    (_, second) = rig.control.armed_ms
    assert first - second > 2_000_000_000_000
    rig.close()
