"""What is shown to whom asks, where the journal is strict: nothing that a power cut could take back.

Live deliveries do not wait: who subscribes is told at once what is said, stored or not. What was said before is told
when it is stored. Clients of CLASP have this in the data plane, where pieces of answers wait for their commit; this is
for all others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clasp_edge.dataplane import Plane


def all_is_stored(plane: Plane) -> bool:
    """Whether there is nothing to wait for: always, where the journal is not strict or can store nothing."""
    buffer = plane.journal_buffer
    return buffer is None or not buffer.strict or not buffer.unstored or buffer.failing


def when_stored(plane: Plane, then: Callable[[], object]) -> None:
    """Call `then` when all that has been said by now is stored: at once, or on the loop's thread."""
    buffer = plane.journal_buffer
    if buffer is None or all_is_stored(plane):
        then()
    else:
        buffer.owner.when_stored(then)
