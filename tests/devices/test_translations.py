"""Translations of addresses and topics are bounded in bytes, whatever keys a stranger chooses."""

from __future__ import annotations

from clasp_edge.devices.translations import LONGEST_REMEMBERED, MAX_REMEMBERED, remember


def test_what_is_remembered_is_bounded_in_bytes() -> None:
    memory: dict[str, str] = {}
    for number in range(3 * MAX_REMEMBERED):
        key = f"{number:08}".ljust(LONGEST_REMEMBERED + number % 2, "x")
        assert remember(memory, key, key.upper()) == key.upper()
    assert sum(map(len, memory)) <= MAX_REMEMBERED * LONGEST_REMEMBERED
    assert len(memory) > 0
