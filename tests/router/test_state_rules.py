"""What the configuration decides about params: strategies, time to live, capacity (router.md 3.2, 3.4, 3.5)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from support.client import Client
from support.daemon import Daemon
from support.live import Crowd, eventually, fresh, get, params_of, put, refused, subscribe

from clasp_edge import wire
from clasp_edge.wire import Ttl, TtlMode

STRATEGIES = """
[[state.strategy]]
pattern = "/max/**"
strategy = "max"
[[state.strategy]]
pattern = "/min/**"
strategy = "min"
[[state.strategy]]
pattern = "/lock/**"
strategy = "lock"
[[state.strategy]]
pattern = "/merge/**"
strategy = "merge"
[[state.strategy]]
pattern = "/max/never/reached"
strategy = "min"
"""


def crowd_of(daemon: Daemon) -> Iterator[Crowd]:
    crowd = Crowd(daemon)
    yield crowd
    crowd.leave()


# ---- strategies ----


@pytest.fixture(scope="module")
def strategic_daemon() -> Iterator[Daemon]:
    with Daemon(config=STRATEGIES) as daemon:
        yield daemon


@pytest.fixture
def strategic(strategic_daemon: Daemon) -> Iterator[Crowd]:
    yield from crowd_of(strategic_daemon)


@pytest.mark.parametrize(
    ("root", "better", "worse"),
    [
        ("/max", 5, 4),
        ("/max", 5, 3.5),
        ("/max", 2.5, 2),
        ("/min", 4, 5),
        ("/min", -1.5, 2),
        ("/max/never/reached", 2, 1),
    ],
)
def test_max_and_min_take_only_what_is_strictly_better(
    strategic: Crowd, base: str, root: str, better: float, worse: float
) -> None:
    client, address = strategic.ws(), f"{root}{base}"
    put(client, address, worse)
    assert put(client, address, better).revision == 2
    for value in (worse, better):
        error = refused(client, address, value)
        assert (error.code, error.message, error.address) == (400, "ConflictRejected", address)
    param = get(client, address)
    assert param is not None
    assert (param.value, param.revision) == (better, 2)


@pytest.mark.parametrize("root", ["/max", "/min"])
def test_max_and_min_take_anything_that_cannot_be_compared(strategic: Crowd, base: str, root: str) -> None:
    client, address = strategic.ws(), f"{root}{base}"
    for revision, value in enumerate((1, "text", [2], None, 1), 1):
        assert put(client, address, value).revision == revision


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("root", "before", "taken", "rejected"),
    [
        ("/max", NAN, 5.0, NAN),
        ("/max", NAN, -INFINITY, NAN),
        ("/min", NAN, 5, NAN),
        ("/min", NAN, INFINITY, NAN),
        ("/max", 5, INFINITY, 7),
        ("/min", 5.0, -INFINITY, -7.0),
        ("/max", 2**53, 2**53 + 1, 2**53 + 1),
        ("/min", -(2**53), -(2**53) - 1, -(2**53) - 1),
        ("/max", 2**63 - 2, 2**63 - 1, 2**63 - 2),
        ("/max", 2**63 - 1, float(2**63), 2**63 - 1),
        ("/min", -(2**63) + 1, -(2**63), float(-(2**63))),
        ("/max", float(2**53), 2**53 + 1, float(2**53)),
        ("/max", 2**53 + 1, float(2**53 + 2), 2**53 + 1),
        ("/max", 3, 3.5, 3),
        ("/min", -3, -3.5, -3),
        ("/max", -4, -3.5, -4),
    ],
)
def test_numbers_are_compared_exactly(
    strategic: Crowd, base: str, root: str, before: float, taken: float, rejected: float
) -> None:
    """NaN holds no place against a number, and takes none; integers keep all their bits beside floats."""
    client, address = strategic.ws(), f"{root}{base}"
    put(client, address, before)
    assert put(client, address, taken).revision == 2
    assert refused(client, address, rejected).message == "ConflictRejected"
    client.send(wire.Bundle([wire.Set(address, rejected)]))
    assert "ConflictRejected" in client.recv_type(wire.Error).message


def test_a_rejected_write_is_not_delivered(strategic: Crowd, base: str) -> None:
    writer, reader = strategic.ws(), strategic.ws()
    put(writer, f"/max{base}", 5)
    subscribe(reader, "/max/**")
    refused(writer, f"/max{base}", 1)
    assert reader.sync() == []


def test_strategy_lock_lets_the_holder_write(strategic: Crowd, base: str) -> None:
    owner, other = strategic.ws(), strategic.ws()
    put(owner, f"/lock{base}", 1, lock=True)
    assert put(owner, f"/lock{base}", 2).revision == 2
    assert refused(other, f"/lock{base}", 3).message.startswith("LockHeld")


def test_strategy_merge_lays_maps_over_one_another(strategic: Crowd, base: str) -> None:
    writer, reader = strategic.ws(), strategic.ws()
    address = f"/merge{base}"
    subscribe(reader, address)
    put(writer, address, {"a": 1, "b": 2})
    put(writer, address, {"b": 3, "c": None})
    merged = {"a": 1, "b": 3, "c": None}
    assert [message.value for message in reader.sync()] == [{"a": 1, "b": 2}, merged]
    assert get(writer, address).value == merged
    put(writer, address, "something else")
    put(writer, address, {"d": 4})
    assert get(writer, address).value == {"d": 4}


def test_a_merge_that_grows_too_large_is_refused(strategic: Crowd, base: str) -> None:
    client, address = strategic.ws(), f"/merge{base}"
    put(client, address, {"a": "x" * 40_000})
    assert refused(client, address, {"b": "x" * 40_000}).code == 402
    assert put(client, address, {"a": "y" * 40_000}).revision == 2


def test_a_bundle_with_a_merge_that_grows_too_large_changes_nothing(strategic: Crowd, base: str) -> None:
    client, address = strategic.ws(), f"/merge{base}"
    put(client, address, {"a": "x" * 40_000})
    client.send(wire.Bundle([wire.Set(f"/other{base}", 1), wire.Set(address, {"b": "x" * 26_000})]))
    refusal = client.recv_type(wire.Error)
    assert (refusal.code, refusal.address) == (402, address)
    assert get(client, f"/other{base}") is None


def test_elsewhere_the_last_writer_wins(strategic: Crowd, base: str) -> None:
    client = strategic.ws()
    put(client, f"/maximum{base}", 5)
    put(client, f"/maximum{base}", 1)
    assert get(client, f"/maximum{base}").value == 1


# ---- time to live ----


@pytest.fixture(scope="module", params=[0, 2], ids=["server-wide off", "server-wide 2 s"])
def mortal_daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    with Daemon(sets={"state.param_ttl_s": request.param}) as daemon:
        yield daemon


@pytest.fixture
def mortal(mortal_daemon: Daemon) -> Iterator[Crowd]:
    yield from crowd_of(mortal_daemon)


def lifetime_s(client: Client, address: str, at_most: float = 6.0) -> float:
    """Seconds until the address is gone from snapshots (which do not count as an access)."""
    started_s = time.monotonic()
    eventually(lambda: not params_of(subscribe(client, address)), at_most)
    client.send(wire.Unsubscribe(1))
    return time.monotonic() - started_s


@pytest.mark.parametrize("mode", [TtlMode.SLIDING, TtlMode.ABSOLUTE])
def test_a_message_can_bring_a_lifetime_of_its_own(mortal: Crowd, base: str, mode: TtlMode) -> None:
    client = mortal.ws()
    put(client, f"{base}/a", 1, ttl=Ttl(mode, 1))
    assert 0.9 < lifetime_s(client, f"{base}/a") < 1.9
    assert get(client, f"{base}/a") is None
    assert put(client, f"{base}/a", 2).revision == 1


def test_the_server_wide_lifetime_and_never(mortal: Crowd, base: str) -> None:
    client = mortal.ws()
    put(client, f"{base}/plain", 1)
    put(client, f"{base}/kept", 1, ttl=Ttl(TtlMode.NEVER))
    if mortal.daemon.sets["state.param_ttl_s"]:
        assert 1.9 < lifetime_s(client, f"{base}/plain") < 3.5
    else:
        time.sleep(2.5)
        assert get(client, f"{base}/plain") is not None
    assert get(client, f"{base}/kept") is not None


def test_sliding_starts_again_with_every_get_and_absolute_does_not(mortal: Crowd, base: str) -> None:
    client = mortal.ws()
    put(client, f"{base}/sliding", 1, ttl=Ttl(TtlMode.SLIDING, 1))
    put(client, f"{base}/absolute", 1, ttl=Ttl(TtlMode.ABSOLUTE, 1))
    deadline_s = time.monotonic() + 2.2
    while time.monotonic() < deadline_s:
        assert get(client, f"{base}/sliding") is not None
        get(client, f"{base}/absolute")
        time.sleep(0.1)
    assert get(client, f"{base}/absolute") is None
    assert get(client, f"{base}/sliding") is not None


def test_every_write_starts_a_lifetime_again_and_one_without_keeps_the_earlier(mortal: Crowd, base: str) -> None:
    client = mortal.ws()
    put(client, f"{base}/a", 1, ttl=Ttl(TtlMode.ABSOLUTE, 1))
    for revision in range(2, 6):
        time.sleep(0.4)
        assert put(client, f"{base}/a", 1).revision == revision
    assert lifetime_s(client, f"{base}/a") < 1.9


def test_absolute_zero_is_gone_at_once(mortal: Crowd, base: str) -> None:
    writer, reader = mortal.ws(), mortal.ws()
    subscribe(reader, f"{base}/**")
    put(writer, f"{base}/a", 1, ttl=Ttl(TtlMode.ABSOLUTE, 0))
    assert reader.recv_type(wire.Set).value == 1
    assert get(writer, f"{base}/a") is None


def test_a_lifetime_below_a_second_is_not_for_ever(base: str) -> None:
    with Daemon(sets={"state.param_ttl_s": 0.3}) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        put(client, f"{base}/a", 1)
        assert lifetime_s(client, f"{base}/a") < 4
        crowd.leave()


# ---- capacity ----


def test_beyond_capacity_the_least_recently_written_goes() -> None:
    with Daemon(sets={"state.max_params": 3}) as daemon:
        crowd = Crowd(daemon)
        client, base = crowd.ws(), fresh()
        for name in ("a", "b", "c"):
            put(client, f"{base}/{name}", name)
        put(client, f"{base}/a", "again")
        put(client, f"{base}/d", "d")
        assert get(client, f"{base}/b") is None
        assert {param.address[-1] for param in params_of(subscribe(client, f"{base}/*"))} == {"a", "c", "d"}
        # A forgotten param begins anew, without its lock.
        owner = crowd.ws()
        put(owner, f"{base}/locked", 1, lock=True)
        assert refused(crowd.ws(), f"{base}/locked", 2).message.startswith("LockHeld")
        other = crowd.ws()
        for name in ("x", "y", "z"):
            put(other, f"{base}/{name}", name)
        assert put(other, f"{base}/locked", 3).revision == 1
        crowd.leave()


def test_with_reject_new_addresses_are_refused() -> None:
    with Daemon(sets={"state.max_params": 2, "state.eviction": "reject"}) as daemon:
        crowd = Crowd(daemon)
        client, base = crowd.ws(), fresh()
        put(client, f"{base}/a", 1, ttl=Ttl(TtlMode.ABSOLUTE, 1))
        put(client, f"{base}/b", 1)
        error = refused(client, f"{base}/c", 1)
        assert (error.code, error.message, error.address) == (400, "AtCapacity", f"{base}/c")
        assert put(client, f"{base}/b", 2).revision == 2
        # Publishing needs no place, and what has expired gives its place free.
        client.send(wire.Publish(f"{base}/event", wire.SignalType.EVENT))
        assert client.sync() == []
        eventually(lambda: get(client, f"{base}/a") is None)
        assert put(client, f"{base}/c", 1).revision == 1
        crowd.leave()


LARGE = "x" * 40_000
FIT = 26  # of LARGE in one MiB


def test_the_state_has_a_bound_in_bytes_too() -> None:
    with Daemon(sets={"state.max_mib": 1}) as daemon:
        crowd = Crowd(daemon)
        client, base = crowd.ws(), fresh()
        for number in range(2 * FIT):
            put(client, f"{base}/{number:02}", LARGE)
        reader = crowd.ws()
        # What is larger than an outbox comes in its own time, after the PONG too.
        kept = [param.address for param in reader.snapshot + params_of(reader.drain())]
        assert FIT - 2 <= len(kept) <= FIT
        assert sorted(kept) == [f"{base}/{number:02}" for number in range(2 * FIT - len(kept), 2 * FIT)]
        # A param that grows makes room for itself, and a small one is not refused for the large ones' sake.
        put(client, f"{base}/{2 * FIT - 1:02}", LARGE + "y" * 20_000)
        assert put(client, f"{base}/small", 1).revision == 1
        crowd.leave()


def test_with_reject_the_bound_in_bytes_refuses_growth_and_bundles() -> None:
    with Daemon(sets={"state.max_mib": 1, "state.eviction": "reject"}) as daemon:
        crowd = Crowd(daemon)
        client, base = crowd.ws(), fresh()
        put(client, f"{base}/grows", 1)
        for number in range(FIT - 2):
            put(client, f"{base}/{number}", LARGE)
        for number in range(FIT - 2, FIT + 2):
            client.send(wire.Set(f"{base}/{number}", LARGE), wire.Qos.FIRE)
        client.sync()
        assert refused(client, f"{base}/one too many", LARGE).message == "AtCapacity"
        assert refused(client, f"{base}/grows", LARGE).message == "AtCapacity"
        assert get(client, f"{base}/grows").value == 1
        client.send(wire.Bundle([wire.Set(f"{base}/grows", 2), wire.Set(f"{base}/other", LARGE)]))
        assert client.recv_type(wire.Error).message == "Bundle rejected: AtCapacity"
        assert get(client, f"{base}/grows").value == 1
        assert put(client, f"{base}/grows", 3).revision == 2
        crowd.leave()
