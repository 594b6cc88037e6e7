"""Numbers of writes that have been here: none is forgotten while there is room, and none is invented."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plane_rig import publish_payload

from clasp_edge.federation.shared.dedup import (
    MAX_ORIGIN_BYTES,
    MAX_PAGES,
    NUMBERS_PER_PAGE,
    Arrival,
    Route,
    Seen,
)
from clasp_edge.federation.shared.extensions import read_route, route_frame
from clasp_edge.wire import FederationOp, FederationSync, decode, encode

runs = st.lists(st.tuples(st.integers(1, 200), st.integers(1, 90)), max_size=30)


LAST_STORED = 40
"""Of what this router itself has said in epoch 3, before it was killed."""


def own_up_to(origin: str, epoch: int) -> int:
    return 0 if origin != "us" else LAST_STORED if epoch == 3 else sys.maxsize


def payload(number: int, said: str = "") -> bytes:
    return publish_payload(b"/e", f"{number}{said}".encode())


def bring(arrival: Arrival, first: int, numbers: Iterable[int], said: str = "", *, accepted: bool = True) -> list[int]:
    """Writes of the run under way; those that were new."""
    new = []
    for number in numbers:
        if not arrival.run.check(payload(number, said)):
            new.append(number)
        arrival.run.finish(accepted)
    return new


@given(runs)
def test_exactly_what_was_here_is_recognised(taken: list[tuple[int, int]]) -> None:
    arrival = Arrival(Seen(), own_up_to)
    known: set[int] = set()
    for first, count in taken:
        arrival.announce(Route("a", 1, 1), first, count)
        numbers = range(first, first + count)
        assert bring(arrival, first, numbers) == [number for number in numbers if number not in known]
        known.update(numbers)


def test_the_highest_number_that_has_come_of_each_epoch_is_known() -> None:
    seen = Seen()
    arrival, other = Arrival(seen, own_up_to), Arrival(seen, own_up_to)
    assert seen.heard_of("a") == {}
    arrival.announce(Route("a", 2, 1), 10, 500)
    bring(arrival, 10, range(10, 300))
    other.announce(Route("a", 4, 1), 7, 5)
    bring(other, 7, range(7, 9))
    bring(other, 9, range(9, 12), accepted=False)
    other.announce(Route("b", 6, 1), 3, 1)
    bring(other, 3, [3])
    assert seen.heard_of("a") == {2: 299, 4: 8}, "what was refused has not been here"
    bring(arrival, 300, [300])
    assert seen.heard_of("a")[2] == 300, "that a run is under way makes no difference"


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 20), st.integers(0, 20)), max_size=30))
def test_what_was_announced_and_has_not_come_is_new_when_it_does(runs: list[tuple[int, int, int]]) -> None:
    seen = Seen()
    known: set[int] = set()
    for first, count, came in runs:
        arrival = Arrival(seen, own_up_to)
        arrival.announce(Route("a", 1, 1), first, count)
        numbers = range(first, first + min(came, count))
        assert bring(arrival, first, numbers) == [number for number in numbers if number not in known]
        if came % 2:
            arrival.end()
        else:
            arrival.announce(Route("b", 1, 1), 1, 1)
        known.update(numbers)
    arrival = Arrival(seen, own_up_to)
    arrival.announce(Route("a", 1, 1), 1, 90)
    assert bring(arrival, 1, range(1, 91)) == [number for number in range(1, 91) if number not in known]


def test_a_number_under_which_something_else_came_is_new() -> None:
    seen = Seen()
    liar, honest = Arrival(seen, own_up_to), Arrival(seen, own_up_to)
    liar.announce(Route("a", 1, 1), 1, 10)
    bring(liar, 1, range(1, 11), "forged")
    honest.announce(Route("a", 1, 1), 1, 10)
    assert bring(honest, 1, range(1, 11)) == list(range(1, 11))


def test_what_was_refused_has_not_been_here() -> None:
    seen = Seen()
    liar, honest = Arrival(seen, own_up_to), Arrival(seen, own_up_to)
    liar.announce(Route("a", 1, 1), 1, 10)
    bring(liar, 1, range(1, 11), accepted=False)
    liar.end()
    honest.announce(Route("a", 1, 1), 1, 10)
    assert bring(honest, 1, range(1, 11)) == list(range(1, 11))
    liar.announce(Route("a", 1, 1), 1, 10)
    assert bring(liar, 1, range(1, 11)) == []


@given(st.lists(st.booleans(), min_size=20, max_size=20))
def test_two_connections_that_bring_the_same_run_at_once(turns: list[bool]) -> None:
    """Whoever brings a write first: it is new once."""
    seen = Seen()
    arrivals = Arrival(seen, own_up_to), Arrival(seen, own_up_to)
    at = [1, 1]
    new: list[int] = []
    for turn in [False, *turns, True, *[False] * 10, *[True] * 10]:
        if at[turn] == 1:
            arrivals[turn].announce(Route("a", 1, 1), 1, 10)
        if at[turn] <= 10:
            new += bring(arrivals[turn], 1, [at[turn]])
            at[turn] += 1
    assert sorted(new) == list(range(1, 11))


def test_what_comes_round_is_not_new() -> None:
    arrival = Arrival(Seen(), own_up_to)
    arrival.announce(Route("us", 1, 3), 1, 3)
    assert bring(arrival, 1, range(1, 5)) == [4]


def test_without_numbers_only_what_comes_round_is_known() -> None:
    arrival = Arrival(Seen(), own_up_to)
    for epoch in (1, 3):
        arrival.announce(Route("us", epoch, 3), 0, 3)
        assert bring(arrival, 1, range(1, 5)) == [4]
    for _ in range(2):
        arrival.announce(Route("a", 1, 3), 0, 3)
        assert bring(arrival, 1, range(1, 5)) == [1, 2, 3, 4]


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 30)), max_size=10))
def test_what_was_told_and_lost_here_is_new_once_when_it_comes_back(taken: list[tuple[int, int]]) -> None:
    """An earlier run of this router said it, and was killed before it was stored."""
    arrival = Arrival(Seen(), own_up_to)
    known = set(range(1, LAST_STORED + 1))
    for first, count in taken:
        arrival.announce(Route("us", 3, 1), first, count)
        numbers = range(first, first + count)
        assert bring(arrival, first, numbers) == [number for number in numbers if number not in known]
        known.update(numbers)


def test_epochs_and_origins_have_numbers_of_their_own() -> None:
    arrival = Arrival(Seen(), own_up_to)
    for route in (Route("a", 1, 1), Route("a", 2, 1), Route("b", 1, 1)):
        arrival.announce(route, 5, 2)
        assert bring(arrival, 5, (5, 6)) == [5, 6]
    arrival.announce(Route("a", 1, 1), 5, 2)
    assert bring(arrival, 5, (5, 6)) == []


def test_memory_is_bounded_in_bytes() -> None:
    """Numbers with gaps, of many epochs: what is kept stays within 0.5 KB for each page."""
    seen = Seen()
    before = kept_bytes()
    for epoch in range(3):
        for number in range(1, 8000 * NUMBERS_PER_PAGE, NUMBERS_PER_PAGE):
            seen.note("a", epoch, number, b"abcd")
    assert kept_bytes() - before < 512 * MAX_PAGES
    assert seen.known("a", 2, 7999 * NUMBERS_PER_PAGE + 1, 1) == b"abcd"


def kept_bytes() -> int:
    gc.collect()
    return sum(sys.getsizeof(thing) for thing in gc.get_objects() if isinstance(thing, bytearray | dict))


def test_an_origin_is_bounded() -> None:
    with pytest.raises(ValueError, match="longer than"):
        read_route(FederationSync(FederationOp.ROUTE, (), {"count": 1}, 1, "x" * (MAX_ORIGIN_BYTES + 1)))


@given(
    st.text(min_size=1, max_size=64), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1),
    st.integers(1, 65535), st.sampled_from([0, 1, 2]),
)  # fmt: skip
def test_a_route_is_what_the_codec_makes_of_it(
    origin: str, epoch: int, hops: int, first: int, count: int, answer: int
) -> None:
    route = Route(origin, epoch, hops, answer=answer)
    frame = route_frame(route, first, count)
    told = ({"answer": answer} if answer else {}) | {"count": count, "epoch": epoch, "hops": hops}
    assert frame[4:] == encode(FederationSync(FederationOp.ROUTE, (), told, first, origin))[4:]
    message = decode(frame)[1]
    assert isinstance(message, FederationSync)
    assert read_route(message) == (route, first, count)


def test_an_answer_of_a_kind_that_is_not_known_is_none() -> None:
    route, _, _ = read_route(FederationSync(FederationOp.ROUTE, (), {"count": 1, "answer": 7}, 1, "x"))
    assert route.answer == 0
