"""Which tier a test is in, told from what it can reach: nobody has to remember a marker, and no marker can be wrong.

unit        no process is started: parts of the package, called directly (`make check`)
daemon      the real daemon or other processes of ours
interop     programs that we did not write
reference   the reference router, which `make bench-peers` builds
root        needs root: namespaces, mounts, devices
slow        takes more than a few seconds; marked by hand
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TIERS = ("unit", "daemon", "interop", "reference", "root", "slow")

_PROCESS_FOLDERS = ("image", "crash")
"""Their subject is programs: the board's, and a daemon that is killed."""

_ROOT = ("support.netns", "support.lan", "support.federation_net", "support.small_disk", "support.container")
_REFERENCE = ("support.rust_router", "support.rust_quic_client")
_INTEROP = (
    "support.javascript", "support.javascript_mqtt", "support.mosquitto", "support.mosquitto_tools",
    "support.python_client", "support.paho_client", "support.old_broker",
    "support.browser",
)  # fmt: skip
_PROCESS = (
    "support.daemon", "support.live", "support.client", "support.mqtt_client", "support.service_manager",
    "support.quic_client", "support.federated", "support.bridged", "support.leaves", "support.bad_hub",
    "support.fixtures",
)  # fmt: skip


def _reached(item: pytest.Function) -> Iterator[str]:
    """The modules from which the test's module, and those of its fixtures, have something."""
    spaces: list[dict[str, Any]] = [item.module.__dict__]
    for definitions in item._fixtureinfo.name2fixturedefs.values():
        spaces += [getattr(definition.func, "__globals__", {}) for definition in definitions]
    for space in spaces:
        if space is globals():
            continue
        yield space.get("__name__", "")
        for value in space.values():
            yield value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or ""


def _tiers(item: pytest.Function) -> Iterator[str]:
    reached = set(_reached(item))
    folders = item.path.relative_to(Path(__file__).parent).parts[:-1]
    found = [
        name
        for name, modules in (("root", _ROOT), ("reference", _REFERENCE), ("interop", _INTEROP), ("daemon", _PROCESS))
        if not reached.isdisjoint(modules)
    ]
    if "interop" in folders and "reference" not in found:
        found.append("interop")
    if not found and folders and folders[0] in _PROCESS_FOLDERS:
        found.append("daemon")
    yield from found
    by_hand = {mark.name for mark in item.iter_markers()} & set(TIERS)
    if not found and not by_hand and "subprocess" not in reached:
        yield "unit"
    elif not found and not by_hand:
        yield "daemon"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test the markers of its tiers (a pytest hook)."""
    for item in items:
        if isinstance(item, pytest.Function):
            for name in set(_tiers(item)):
                item.add_marker(name)


@pytest.fixture(autouse=True)
def no_processes_in_the_unit_tier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `make check` runs in seconds stays quick and needs nothing installed."""
    if request.node.get_closest_marker("unit") is not None:

        def refuse(*words: object, **options: object) -> None:
            pytest.fail("a test of the unit tier starts a process: import support.daemon or mark it `daemon`")

        monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
