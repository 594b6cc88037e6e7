"""What one message asks for and takes long: done in parts, in turns with all other work, and paid for by its time.

What its sender says next waits until it is done, so that the order of what it says holds. Knows no message and no
protocol.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from clasp_edge.dataplane import Core
    from clasp_edge.router.in_turn import InTurn
    from clasp_edge.router.session import Session


class Sender(Protocol):
    """Whose message it is."""

    @property
    def closing(self) -> bool:
        """Whether nothing of it counts any more."""

    def hold(self) -> None:
        """What it says from here on waits, until `let_on`."""

    def let_on(self) -> None: ...

    def pay(self, seconds: float) -> None:
        """From its rate."""


def carry_out(session: Session, steps: Iterator[None]) -> None:
    """Begin at once; each step is to be short. What is left when the round's slice is over waits for its turn. Ends
    with the session, where that is closed meanwhile. What is done at once is paid for with the message."""
    carry_out_for(session, session.router.core, steps)


def carry_out_in_turn(session: Session, line: InTurn, steps: Iterator[None]) -> None:
    """The same for what takes memory while it is under way: what is not done at once, one after another of all in
    `line`."""
    if not line.is_busy:
        for _ in steps:
            if session.router.core.slice_over:
                break
        else:
            return
    session.hold()
    line.do(_rest_later(session, steps))


def carry_out_for(sender: Sender, core: Core, steps: Iterator[None]) -> None:
    """The same for a sender of any protocol."""
    for _ in steps:
        if core.slice_over:
            sender.hold()
            core.start_work(_rest(sender, steps))
            return


def _rest(sender: Sender, steps: Iterator[None]) -> Iterator[None]:
    ended = object()
    try:
        while not sender.closing:
            # CPU: other programs on the machine are not its doing.
            began_s = time.thread_time()
            found = next(steps, ended)
            sender.pay(time.thread_time() - began_s)
            if found is ended:
                break
            yield
    finally:
        sender.let_on()


def _rest_later(sender: Sender, steps: Iterator[None]) -> Iterator[None]:
    """Not from here: its sender's input is being read."""
    yield
    yield from _rest(sender, steps)
