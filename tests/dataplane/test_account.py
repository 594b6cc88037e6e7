"""The account of what is kept for whom: nothing gets lost, and nobody takes all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plane_rig import EXPIRED_AT_ONCE, Rig, set_payload

from clasp_edge.dataplane.account import Accounts, Charge, Holding
from clasp_edge.dataplane.bundle import dry_run

MIB = 1 << 20


def greedy(holding: Holding, piece: int) -> int:
    """Charge until it is refused."""
    while holding.charge(piece, Charge.SUBSCRIPTIONS):
        pass
    return holding.size


def test_one_alone_gets_half_and_two_a_third_each() -> None:
    accounts = Accounts(16 * MIB)  # of which two are kept for small ones
    one, two = Holding(accounts.of("host a")), Holding(accounts.of("host b"))
    assert abs(greedy(one, 1024) - 7 * MIB) <= 1024
    assert abs(greedy(two, 1024) - 7 * MIB // 2) <= 1024, "half of what is left"
    one.close()
    assert greedy(two, 1024) > 6 * MIB


def test_any_number_of_greedy_principals_leaves_something() -> None:
    accounts = Accounts(8 * MIB)
    holdings = [Holding(accounts.of(f"host {number}")) for number in range(50)]
    for holding in holdings:
        greedy(holding, 512)
    for number in range(50):
        assert holdings[number].account.used > 0
        assert Holding(accounts.of(f"host honest {number}")).charge(4096, Charge.QUEUES)
    assert accounts.used <= accounts.total


def test_several_holdings_of_one_principal_share_its_part() -> None:
    accounts = Accounts(8 * MIB)
    account = accounts.of("token desk")
    holdings = [Holding(account) for _ in range(20)]
    assert sum(greedy(holding, 1024) for holding in holdings) <= 4 * MIB
    assert accounts.of("token desk") is account


def test_no_total_is_no_limit() -> None:
    holding = Holding(Accounts().of("host a"))
    assert holding.charge(1 << 40, Charge.WILLS)


def test_refusals_are_counted_and_told() -> None:
    accounts = Accounts(2048)
    told = []
    accounts.on_refused = lambda account: told.append(account.principal)
    holding = Holding(accounts.of("host a"))
    assert not holding.charge(2048, Charge.ALIASES)
    assert (accounts.refusals, holding.account.refusals, holding.size, told) == (1, 1, 0, ["host a"])


def test_an_account_is_forgotten_with_its_last_holding() -> None:
    accounts = Accounts(MIB)
    holding = Holding(accounts.of("host a"))
    holding.charge(1000, Charge.INPUT)
    assert len(accounts) == 1
    del holding
    assert (len(accounts), accounts.used) == (0, 0)


steps = st.lists(
    st.tuples(
        st.integers(0, 3), st.sampled_from(["charge", "force", "release", "move", "close", "all"]),
        st.integers(0, 5000), st.integers(0, 10), st.sampled_from("abc"),
    )
)  # fmt: skip


@given(steps)
def test_sums_agree_whatever_happens(taken: list[tuple[int, str, int, int, str]]) -> None:
    accounts = Accounts(20_000)
    holdings = [Holding(accounts.of("host a")) for _ in range(4)]
    for number, what, size, kind, principal in taken:
        holding = holdings[number]
        if what == "move":
            holding.move(accounts.of(f"host {principal}"))
        elif what == "close":
            holding.close()
            assert holding.size == 0
        elif what == "all":
            holding.release_all(kind)
        else:
            getattr(holding, what)(size, kind)
    sizes = {holding.account.principal: 0 for holding in holdings}
    for holding in holdings:
        sizes[holding.account.principal] += holding.size
    assert {one.principal: one.used for one in accounts.heaviest(9) if one.used} == {
        k: v for k, v in sizes.items() if v
    }
    assert accounts.used == sum(accounts.kinds().values()) == sum(sizes.values())
    assert sum(holding.account.queued == 0 or holding.account.used > 0 for holding in holdings) == 4


def test_params_and_principals_have_one_total() -> None:
    """Whoever comes first gets more, and a quarter of the total is left for the others."""
    rig = Rig()
    accounts = Accounts(8 * MIB)
    rig.plane.share_total(accounts)
    accounts.give_params(8 * MIB)
    rig.plane.evict = True
    writer = rig.line(b"writer")
    for number in range(300):
        writer.feed([set_payload(b"/p/%d" % number, "x" * 50_000)])
    state_bytes = rig.plane.max_bytes
    assert state_bytes == 8 * MIB
    holding = Holding(accounts.of("host a"))
    assert greedy(holding, 1024) <= 2 * MIB, "params were first"
    # They have to keep to what is left from now on.
    assert rig.plane.max_bytes < 8 * MIB - holding.size
    for number in range(300):
        writer.feed([set_payload(b"/q/%d" % number, "x" * 50_000)])
    holding.close()
    assert rig.plane.max_bytes > 7 * MIB
    rig.close()


def test_principals_that_come_first_leave_a_quarter_to_params() -> None:
    rig = Rig()
    accounts = Accounts(8 * MIB)
    rig.plane.share_total(accounts)
    accounts.give_params(8 * MIB)
    holdings = [Holding(accounts.of(f"host {number}")) for number in range(50)]
    for holding in holdings:
        greedy(holding, 512)
    assert accounts.used > 6 * MIB
    assert rig.plane.max_bytes == 2 * MIB
    rig.close()


def test_more_than_the_total_is_the_affair_of_params_alone() -> None:
    rig = Rig()
    accounts = Accounts(MIB)
    rig.plane.share_total(accounts)
    for most in (0, 2 * MIB):
        accounts.give_params(most)
        holding = Holding(accounts.of("host a"))
        assert greedy(holding, 1024) > 400_000
        assert rig.plane.max_bytes == most
        holding.close()
    rig.close()


@pytest.mark.parametrize("evict", [True, False])
def test_what_is_remembered_of_cleared_params_leaves_room_for_params(evict: bool) -> None:
    """Long addresses that somebody sets and clears cost nobody a param."""
    rig = Rig()
    rig.plane.versions = True
    rig.plane.evict = evict
    rig.plane.max_bytes = MIB
    writer = rig.line(b"writer")
    writer.feed([set_payload(b"/kept", "x")])
    for number in range(700):
        address = b"/%d/" % number + b"a" * 900
        writer.feed([set_payload(address, 1), set_payload(address, None, ttl=EXPIRED_AT_ONCE)])
        rig.plane.expire()
    assert rig.plane.tombstones > 600
    for number in range(16):
        writer.feed([set_payload(b"/p/%d" % number, "x" * 40_000)])
    assert rig.plane.params == 17
    assert not writer.peer.refused
    assert 100 < rig.plane.tombstones < 500
    # Nor a bundle, whose room is looked for before any of it is written.
    remembered = rig.plane.tombstones
    assert rig.plane.max_bytes - rig.plane.state_bytes < 60_000
    assert not rig.plane.lacks_room(60_000)
    assert 0 < rig.plane.tombstones < remembered
    assert rig.plane.lacks_room(rig.plane.max_bytes)
    rig.close()


def test_a_bundle_has_as_many_tombstones_go_as_its_writes_would_one_by_one() -> None:
    """With eviction off it was refused where more than a thousand had to go, and each of its writes was taken."""
    rig = Rig()
    rig.plane.versions = True
    rig.plane.evict = False
    writer = rig.line(b"writer")
    for number in range(5_000):
        writer.feed([set_payload(b"/%d" % number, 1), set_payload(b"/%d" % number, None, ttl=EXPIRED_AT_ONCE)])
        rig.plane.expire()
    assert rig.plane.tombstones == 5_000
    rig.plane.max_bytes = rig.plane.state_bytes + 1_000
    payloads = [set_payload(b"/p/%d" % number, 1) for number in range(1_500)]
    *_, new, size = dry_run(rig.plane, writer.peer, payloads)
    assert new == 1_500
    assert not rig.plane.lacks_room(size)
    assert 0 < rig.plane.tombstones < 5_000 - 1_024
    writer.feed(payloads)
    assert not writer.peer.refused
    assert rig.plane.params == 1_500
    remembered = rig.plane.tombstones
    assert rig.plane.lacks_room(rig.plane.max_bytes)
    assert rig.plane.tombstones == remembered, "none goes in vain"
    rig.close()


@pytest.mark.parametrize("evict", [True, False])
def test_a_param_that_comes_back_is_no_worse_off_than_any_other(evict: bool) -> None:
    """Not even where it is the one that was cleared longest ago."""
    rig = Rig()
    rig.plane.versions = True
    rig.plane.evict = evict
    rig.plane.max_bytes = MIB
    writer = rig.line(b"writer")
    addresses = [b"/%d/" % number + b"a" * 900 for number in range(600)]
    for address in addresses:
        writer.feed([set_payload(address, 1), set_payload(address, None, ttl=EXPIRED_AT_ONCE)])
        rig.plane.expire()
    remembered = rig.plane.tombstones
    filled = 0
    while rig.plane.tombstones == remembered:
        writer.feed([set_payload(b"/p/%d" % filled, "x" * 40_000)])
        filled += 1
    oldest = addresses[len(addresses) - rig.plane.tombstones]
    writer.feed([set_payload(oldest, "x" * 40_000)])
    assert not writer.peer.refused
    assert rig.plane.params == filled + 1
    assert rig.plane.tombstones > 400
    rig.close()
