"""The log read once for all sessions that come back at the same time: what one of them has just read serves the others.

Knows no session. Of a batch it knows after which record it begins and where it ends.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clasp_edge.devices.mqtt.log_replay import Logged, Readable

MOST_BATCHES = 4
"""Sessions that came back together go through the log side by side; one that is held up reads for itself."""


class LogBatches:
    """As the `journal`, with the last batches at hand. `readers` is how many sessions read: without one nothing is
    kept."""

    def __init__(self, journal: Readable) -> None:
        self._journal = journal
        self._batches: OrderedDict[int, Sequence[Logged]] = OrderedDict()
        self._asked: dict[int, list[Callable[[Sequence[Logged] | Exception], None]]] = {}
        self.readers = 0

    @property
    def last_sequence(self) -> int:
        return self._journal.last_sequence

    @property
    def run(self) -> int:
        return self._journal.run

    def waited_s(self, record: Any) -> int:
        return self._journal.waited_s(record)

    def enter(self) -> None:
        """One more session reads."""
        self.readers += 1

    def leave(self) -> None:
        """It has read all it needs, or is over."""
        self.readers -= 1
        if self.readers <= 0:
            self._batches.clear()

    def fetch_after(
        self,
        sequence: int,
        limit_records: int,
        limit_bytes: int,
        then: Callable[[Sequence[Logged] | Exception], None],
    ) -> None:
        """As `Readable.fetch_after`."""
        for after, batch in self._batches.items():
            if after <= sequence < batch[-1].number:
                then(batch if after == sequence else [record for record in batch if record.number > sequence])
                return
        asked = self._asked.get(sequence)
        if asked is not None:
            asked.append(then)
            return
        self._asked[sequence] = [then]
        self._journal.fetch_after(sequence, limit_records, limit_bytes, partial(self._have, sequence))

    def _have(self, sequence: int, result: Sequence[Logged] | Exception) -> None:
        asked = self._asked.pop(sequence)
        if not isinstance(result, Exception) and result and self.readers > 1:
            self._batches[sequence] = result
            if len(self._batches) > MOST_BATCHES:
                self._batches.popitem(last=False)
        for then in asked:
            then(result)
