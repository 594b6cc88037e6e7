"""Codes, masks and defaults (wire.md 2.1, 2.3, 5.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.wire_strategies import type_filters

from clasp_edge.wire.enums import (
    FEATURE_BITS,
    MessageType,
    Phase,
    Qos,
    SignalType,
    default_qos,
    features_from_bits,
    features_to_bits,
    phase_from_code,
    signal_from_code,
    types_from_mask,
    types_to_mask,
)


@pytest.mark.parametrize("mask", [0xFF, 0x00, 0x20, 0xE0])
def test_masks_that_mean_all_types(mask: int) -> None:
    assert types_from_mask(mask) == ()


def test_no_types_encode_as_all() -> None:
    assert types_to_mask(()) == 0xFF


@given(type_filters)
def test_type_masks_round_trip(types: tuple[SignalType, ...]) -> None:
    assert types_from_mask(types_to_mask(types)) == types


@given(st.integers(0, 0xFE))
def test_reserved_mask_bits_are_ignored(mask: int) -> None:
    assert types_from_mask(mask) == types_from_mask(mask & 0x1F)


@given(st.integers(0, 0xFF))
def test_feature_bits_round_trip_but_for_the_two_that_are_one_feature(bits: int) -> None:
    bare = 0x01 if bits & 0x03 == 0x01 else 0
    assert features_to_bits(features_from_bits(bits)) == bits & 0xFC | bare


def test_features_decode_in_the_fixed_order_and_foreign_ones_have_no_bit() -> None:
    assert features_from_bits(features_to_bits(["federation", "x-own", "param"])) == ("param", "federation")
    assert list(FEATURE_BITS) == ["param", "event", "stream", "gesture", "timeline", "federation"]


def test_unknown_codes_fall_back() -> None:
    assert [signal_from_code(code) for code in (0, 4, 5, 255)] == [
        SignalType.PARAM,
        SignalType.TIMELINE,
        SignalType.EVENT,
        SignalType.EVENT,
    ]
    assert [phase_from_code(code) for code in (0, 3, 4, 7)] == [Phase.START, Phase.CANCEL, Phase.START, Phase.START]


def test_default_qos_of_every_type() -> None:
    confirm = {"FEDERATION_SYNC", "SUBSCRIBE", "UNSUBSCRIBE", "SET", "REPLAY"}
    for message_type in MessageType:
        expected = Qos.CONFIRM if message_type.name in confirm else Qos.FIRE
        if message_type is MessageType.BUNDLE:
            expected = Qos.COMMIT
        assert default_qos(message_type) is expected


@pytest.mark.parametrize(
    ("signal", "qos"),
    [
        (None, Qos.FIRE),
        (SignalType.PARAM, Qos.CONFIRM),
        (SignalType.EVENT, Qos.CONFIRM),
        (SignalType.STREAM, Qos.FIRE),
        (SignalType.GESTURE, Qos.FIRE),
        (SignalType.TIMELINE, Qos.COMMIT),
    ],
)
def test_default_qos_of_publish_depends_on_the_signal(signal: SignalType | None, qos: Qos) -> None:
    assert default_qos(MessageType.PUBLISH, signal) is qos
