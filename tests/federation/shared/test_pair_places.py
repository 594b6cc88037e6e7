"""What a router of a pair says of how much of the other one's log is heard by all routers that come to it."""

from __future__ import annotations

from pathlib import Path

from federation.shared.test_identity import Store

from clasp_edge.federation.shared.identity import Identity
from clasp_edge.federation.shared.pair_places import ALL, ALL_OF, LOG, RUN, PairPlaces
from clasp_edge.federation.shared.run_ids import begin_run


class OneOfAPair:
    """Of which only the journal's places are looked at."""

    def __init__(self, directory: Path, name: str) -> None:
        self.store = Store(1, {})
        self.identity = Identity(directory, 5, 5, 1, name, begin_run(self.store))
        self.places = PairPlaces(self.store, self.identity, 0)  # type: ignore[arg-type]


def test_what_all_have_heard_is_said_once_and_not_before_they_have(tmp_path: Path) -> None:
    here, there = OneOfAPair(tmp_path, "a"), OneOfAPair(tmp_path, "b")
    run = there.identity.logged.epoch
    here.store.last_sequence = there.store.last_sequence = 50
    here.store.places |= {"peer:00000000:box": 50, "peer:00000001:away": 20, "peer:00000000:b": 3}
    told = there.places.said(40)
    assert told == {LOG: 40, RUN: run}
    here.places.heard(told)
    assert here.places.all_heard("b") == {}, "one that is away has not"
    here.store.last_sequence = 90
    here.places.heard(there.places.said(45))
    here.store.places["peer:00000001:away"] = 50
    heard = here.places.all_heard("b")
    assert heard == {ALL: 40, ALL_OF: run}
    assert here.places.all_heard("b") == {}
    here.places.heard(told)
    assert here.places.all_heard("b") == {}, "nothing new: each would answer the other one for ever"

    before = dict(there.store.places)
    there.places.heard_below({ALL: 40, ALL_OF: run + 2}, "a")
    there.places.heard_below({ALL: 51, ALL_OF: run}, "a")
    assert there.store.places == before, "of another run, or of more than there is"
    # A new machine knows nothing, and nobody has a place here.
    assert there.places.begins_at({LOG: 0, RUN: 0}, "uplink:pair", "a") == 50
    there.places.heard_below(heard, "a")
    assert there.places.begins_at({LOG: 0, RUN: 0}, "uplink:pair", "a") == 40
    there.store.places["peer:00000000:box"] = 30
    assert there.places.begins_at({LOG: 0, RUN: 0}, "uplink:pair", "a") == 30
