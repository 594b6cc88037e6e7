"""Places: who makes room for whom, whatever happens."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.router.places import ADMIN_PLACES, HalfOpen, Places
from clasp_edge.router.principal import principal_of


class Somebody:
    """Holds a place."""

    def __init__(self, heard_us: int = 0) -> None:
        self.heard_us = heard_us
        self.told = ""

    def give_up_place(self, reason: str) -> None:
        self.told = reason


def fill(places: Places, principal: str, count: int, host: str = "") -> list[Somebody]:
    crowd = [Somebody(number) for number in range(count)]
    assert all(places.take(one, "tcp", principal, host or principal) for one in crowd)
    return crowd


def test_nobody_is_moved_before_all_places_are_taken() -> None:
    places = Places(lambda: 10)
    crowd = fill(places, "host a", 9)
    fill(places, "host b", 1)
    assert not any(one.told for one in crowd)


def test_three_hosts_cannot_keep_a_fourth_out() -> None:
    places = Places(lambda: 9)
    crowds = [fill(places, f"host {name}", 3) for name in "abc"]
    assert places.take(Somebody(), "mqtt", "host d", "d")
    assert sum(bool(one.told) for crowd in crowds for one in crowd) == 1
    assert (len(places), places.moved) == (9, 1)


def test_the_one_that_was_silent_longest_goes() -> None:
    places = Places(lambda: 3)
    crowd = fill(places, "host a", 3)
    crowd[0].heard_us = 50
    places.take(Somebody(), "tcp", "host b", "b")
    assert [bool(one.told) for one in crowd] == [False, True, False]


def test_among_the_bearers_of_one_token_hosts_are_equal() -> None:
    places = Places(lambda: 6)
    crowd = fill(places, "token all", 6, host="10.0.0.1")
    assert places.take(Somebody(), "tcp", "token all", "10.0.0.2")
    assert sum(bool(one.told) for one in crowd) == 1
    assert not places.take(Somebody(), "tcp", "token all", "10.0.0.1")


def test_a_few_places_are_kept_for_who_may_administrate() -> None:
    places = Places(lambda: 2)
    fill(places, "host a", 1)
    fill(places, "host b", 1)
    assert not places.open_to("host c", "c")
    for number in range(ADMIN_PLACES):
        assert places.take(Somebody(), "tcp", f"token {number}", "c", admin=True)
    assert not places.take(Somebody(), "tcp", "token more", "c", admin=True)


def test_who_had_to_go_gives_back_nothing() -> None:
    places = Places(lambda: 1)
    (one,) = fill(places, "host a", 1)
    places = Places(lambda: 2)
    crowd = fill(places, "host a", 2)
    places.take(Somebody(), "tcp", "host b", "b")
    places.give_back(crowd[0])
    assert len(places) == 2
    places.give_back(one)
    assert places.by_kind["tcp"] == 2


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("xyz"), st.booleans()), max_size=80))
def test_counts_agree_and_the_smallest_are_not_kept_out(steps: list[tuple[str, str, bool]]) -> None:
    places, here = Places(lambda: 6), dict[Somebody, str]()
    for principal, host, leaves in steps:
        if leaves and here:
            one = next(iter(here))
            places.give_back(one)
            del here[one]
            continue
        counts = Counter(here.values())
        most = max(counts.values(), default=0)
        newcomer = Somebody()
        if places.take(newcomer, "tcp", principal, host):
            here[newcomer] = principal
            here = {one: name for one, name in here.items() if not one.told}
        else:
            assert len(here) == 6
            assert most <= counts[principal] + 1
        assert len(places) == len(here) == places.by_kind["tcp"] <= 6


def test_half_open_connections_of_the_busiest_host_go_first() -> None:
    half_open, gone = HalfOpen(lambda: 4), []
    half_open.add("honest", "10.0.0.2", lambda reason: gone.append("honest"))
    for number in range(100):
        half_open.add(number, "10.0.0.66", lambda reason, number=number: gone.append(number))  # type: ignore[misc]
    assert (len(half_open), len(gone), half_open.evicted) == (4, 97, 97)
    assert "honest" not in gone
    half_open.discard("honest")
    half_open.discard("honest")
    assert len(half_open) == 3


def test_an_ipv6_host_is_its_network() -> None:
    assert principal_of("2001:db8::1") == principal_of("[2001:db8::ffff:1]") == "host 2001:db8::/64"
    assert principal_of("2001:db8:0:1::1") != principal_of("2001:db8::1")
    assert principal_of("::ffff:10.0.0.7") == principal_of("10.0.0.7") == "host 10.0.0.7"
    assert principal_of("fe80::1%eth0") == "host fe80::1"
    assert principal_of("") == "host local"
