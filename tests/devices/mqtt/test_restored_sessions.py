"""What a store says of a session is checked before it is used: hostile numbers are refused, not taken for places in
memory (journaled.pyx, receiver.pyx)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.plane_rig import Rig

from clasp_edge.dataplane.account import Accounts
from clasp_edge.devices.mqtt.address import to_address, to_topic
from clasp_edge.devices.mqtt.context import MqttContext
from clasp_edge.devices.mqtt.receiver import MqttReceiver

NO_EXPIRY = 0xFFFF_FFFF


@pytest.fixture
def session() -> Iterator[MqttReceiver]:
    rig = Rig()
    context = MqttContext(rig.plane, b"/mqtt", to_topic, to_address, 65_536)
    made = MqttReceiver(rig.core, context, Accounts().of("test"))
    rig.plane.register(made, b"mqtt:test")
    yield made
    rig.plane.unregister(made)
    rig.close()


@pytest.mark.parametrize("ids", [[0], [65536], [-1], [1 << 30], [1, 2, -(1 << 31)]])
def test_packet_identifiers_that_no_packet_has(session: MqttReceiver, ids: list[int]) -> None:
    with pytest.raises(ValueError, match="no packet identifier"):
        session.restore_unreleased(ids)


def test_packet_identifiers_count_once(session: MqttReceiver) -> None:
    session.restore_unreleased([1, 65535, 1])
    assert session.unreleased_ids() == [1, 65535]
    assert session.unreleased_count == 2


@pytest.mark.parametrize("number", [-1, 0, 65536, 1 << 30])
def test_an_acknowledgement_of_nothing(session: MqttReceiver, number: int) -> None:
    with pytest.raises(ValueError, match="no packet identifier"):
        session.take_acknowledgement(6, number, 0)


@pytest.mark.parametrize(
    ("first", "entries", "skipped"),
    [
        ((1 << 64) - 1, [(1, 1, 1, False)], 0),
        (1, [(1, 5, 1, False)], 0),
        (1, [(1, 255, 1, False)], 0),
        (1, [(1, 1, 3, False)], 0),
        (1, [(1 << 63, 1, 1, False)], 0),
        (1, [(1, 1, 1, False)], 1 << 40),
    ],
)
def test_messages_in_flight_that_no_session_has(
    session: MqttReceiver, first: int, entries: list[tuple[int, int, int, bool]], skipped: int
) -> None:
    with pytest.raises(ValueError, match=r"in flight in state|messages from"):
        session.restore(first, entries, skipped)
    assert session.flight()[4] == []


def test_a_will_with_a_topic_that_no_packet_has(session: MqttReceiver) -> None:
    """Longer than the room for an address."""
    assert session.publish_topic(b"t" * (1 << 20), b"x", b"", NO_EXPIRY, 0, False) != 0
    assert session.publish_topic(b"t", b"x", b"", NO_EXPIRY, 0, False) == 0
