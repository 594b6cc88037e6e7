"""The journal's log, as those see it who follow it by a cursor: a link's queue, a bridge's. Knows no store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from clasp_edge.journal.cursors import Logged

READ_RECORDS = 512
READ_BYTES = 128 * 1024
"""Of the log in one reading: about two milliseconds of ours, so that live traffic goes on in between."""

RETRY_S = 1.0
"""After a reading of the log has failed."""


class Log(Protocol):
    """What those who follow the log need of a journal (`journal.journal.Journal`)."""

    @property
    def last_sequence(self) -> int: ...
    def cursor(self, name: str) -> int: ...
    def cursors(self) -> Mapping[str, int]: ...
    def set_cursor(self, name: str, sequence: int) -> None: ...
    def forget_cursor(self, name: str) -> None: ...
    def waited_s(self, record: Logged) -> int: ...
    def log_whole_messages(self, who: str, whole: bool) -> None: ...
    def when_stored(self, then: Callable[[], None]) -> None: ...
    def fetch_after(
        self, sequence: int, limit_records: int, limit_bytes: int, then: Callable[[list[Logged] | Exception], None]
    ) -> None: ...
