"""Outages, in short: the long versions are `make outages`. Real hosts, real daemons, a network that really fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from outages.scenarios import SCENARIOS, Scenario, perform, stage
from support.federation_net import Net, why_not

SECONDS = 1.2
"""Of each fault: longer than `DEAD_AFTER_MS`, so that a silent one is noticed."""

DEAD_AFTER_MS = 600

HERE = (
    "packets vanish",
    "half-open",
    "30 % loss",
    "hub killed",
    "box killed",
    "box loses the time",
)


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    if reason := why_not():
        pytest.skip(reason)
    with Net("hub", "a", "b") as made:
        stage(made, dead_after_ms=DEAD_AFTER_MS)
        yield made


@pytest.mark.parametrize(
    "scenario", [scenario for scenario in SCENARIOS if scenario.name in HERE], ids=lambda s: s.name
)
def test_outage(net: Net, scenario: Scenario) -> None:
    part = "".join(character for character in scenario.name if character.isalnum())
    perform(net, scenario, part, SECONDS, timeout_s=30.0)


def test_every_short_version_has_a_long_one() -> None:
    assert set(HERE) <= {scenario.name for scenario in SCENARIOS}
