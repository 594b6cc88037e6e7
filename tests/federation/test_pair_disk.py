"""A pair of hubs of which one has a full disk: the other one says that it is alone, and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import Daemon
from support.federated import await_value, client, value
from support.live import eventually
from support.small_disk import fill, small_disk, why_not

from clasp_edge.wire import Ack, Qos, Set

STRICT: dict[str, object] = {"journal.mode": "strict"}
PAIR = "/clasp-edge/pair/"
WAIT_S = 40.0
MIB = 8


@pytest.fixture
def disk() -> Iterator[Path]:
    if (reason := why_not("tmpfs")) is not None:
        pytest.skip(reason)
    with small_disk("tmpfs", MIB) as place:
        yield place


def test_a_full_disk_on_one_side(disk: Path) -> None:
    ids: dict[str, object] = {"federation.router_id": "a", "federation.pair.router_id": "b"}
    with Daemon(sets=STRICT | ids) as first:
        other: dict[str, object] = {"federation.router_id": "b", "federation.pair.url": first.ws_url}
        with Daemon(sets=STRICT | other | {"data_dir": disk / "data"}) as second:
            for one in (first, second):
                await_value(one, f"{PAIR}state", "in step", WAIT_S)
            filler = fill(disk, 0)
            with client(first) as at:
                at.send(Set("/x/level", "x" * 60_000), Qos.CONFIRM)
                assert isinstance(at.recv_until(Ack, WAIT_S), Ack)
                eventually(lambda: "stores nothing" in str(value(first, f"{PAIR}problem")), WAIT_S)
                at.send(Set("/x/level", 2), Qos.CONFIRM)
                assert isinstance(at.recv_until(Ack, WAIT_S), Ack)
            await_value(second, "/x/level", 2, WAIT_S)
            filler.unlink()
            for one in (first, second):
                await_value(one, f"{PAIR}state", "in step", WAIT_S)
            with client(first) as at:
                at.send(Set("/x/level", 3), Qos.CONFIRM)
                assert isinstance(at.recv_until(Ack, WAIT_S), Ack)
            second.restart()
            assert value(second, "/x/level") == 3
