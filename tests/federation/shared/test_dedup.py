"""Numbers of writes that have been here: none is forgotten while there is room, and none is invented."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.federation.shared.dedup import Arrival, Route, Seen
from clasp_edge.federation.shared.extensions import read_route, route_frame
from clasp_edge.wire import FederationOp, FederationSync, decode, encode

runs = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 20)), max_size=30)


@given(runs)
def test_exactly_what_was_here_is_recognised(taken: list[tuple[int, int]]) -> None:
    seen = Seen()
    known: set[int] = set()
    for first, count in taken:
        mask = seen.take("a", 1, first, count)
        numbers = range(first, first + count)
        expected = bytes(number in known for number in numbers)
        assert (mask or bytes(count)) == expected
        assert (mask is None) == (not any(expected))
        known.update(numbers)


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 20), st.integers(0, 20)), max_size=30))
def test_what_was_announced_and_has_not_come_is_new_when_it_does(runs: list[tuple[int, int, int]]) -> None:
    seen = Seen()
    known: set[int] = set()
    for first, count, came in runs:
        arrival = Arrival(seen, lambda origin, epoch: origin == "us")
        mask = arrival.announce(Route("a", 1, 1), first, count)
        assert (mask or bytes(count)) == bytes(number in known for number in range(first, first + count))
        arrival.broken_off(first + min(came, count))
        arrival.broken_off(first + min(came, count))
        known.update(range(first, first + min(came, count)))
    assert seen.take("a", 1, 1, 80) == bytes(number in known for number in range(1, 81)) or not known


def test_epochs_and_origins_have_numbers_of_their_own() -> None:
    seen = Seen()
    assert seen.take("a", 1, 5, 2) is None
    assert seen.take("a", 2, 5, 2) is None
    assert seen.take("b", 1, 5, 2) is None
    assert seen.take("a", 1, 5, 2) == b"\1\1"


@given(
    st.text(min_size=1, max_size=64), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1),
    st.integers(1, 65535),
)  # fmt: skip
def test_a_route_is_what_the_codec_makes_of_it(origin: str, epoch: int, hops: int, first: int, count: int) -> None:
    route = Route(origin, epoch, hops)
    frame = route_frame(route, first, count)
    told = {"count": count, "epoch": epoch, "hops": hops}
    assert frame[4:] == encode(FederationSync(FederationOp.ROUTE, (), told, first, origin))[4:]
    message = decode(frame)[1]
    assert isinstance(message, FederationSync)
    assert read_route(message) == (route, first, count)
