"""What one message asks for and takes long: done in parts, in turns with all other work, and paid for by its time.

What its sender says next waits until it is done, so that the order of what it says holds. Knows no message.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clasp_edge.router.session import Session


def carry_out(session: Session, steps: Iterator[None]) -> None:
    """Begin at once; each step is to be short. What is left when the round's slice is over waits for its turn. Ends
    with the session, where that is closed meanwhile."""
    core = session.router.core
    for _ in steps:
        if core.slice_over:
            session.hold()
            core.start_work(_rest(session, steps))
            return


def _rest(session: Session, steps: Iterator[None]) -> Iterator[None]:
    ended = object()
    try:
        while not session.closing:
            began_s = time.monotonic()
            found = next(steps, ended)
            session.pay(time.monotonic() - began_s)
            if found is ended:
                break
            yield
    finally:
        session.let_on()
