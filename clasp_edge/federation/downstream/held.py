"""A router that says more than its rate allows: nothing is dropped, it is read from more slowly.

Meanwhile it is shown that this router lives: what it asks waits behind what it has said. Knows one session.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from clasp_edge.federation.shared.extensions import reached_frame

if TYPE_CHECKING:
    from clasp_edge.clock import Clock
    from clasp_edge.router.session import Session

log = logging.getLogger("clasp_edge.federation")

SIGN_S = 0.5
"""Between signs of life; an uplink believes in a silent hub for `dead_after_ms`, 500 at least."""

TELL_S = 60.0
"""Between lines in the log."""


class Held:
    """Called whenever the session's input is held back."""

    def __init__(self, session: Session, router_id: str, clock: Clock) -> None:
        self._session = session
        self._router_id = router_id
        self._clock = clock
        self._sign_due_s = 0.0
        self._tell_due_s = 0.0

    def __call__(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s >= self._sign_due_s:
            self._sign_due_s = now_s + SIGN_S
            # It has reached nothing new: word that says nothing, which every clasp-edge understands.
            self._session.send(reached_frame(0, 1))
        if now_s >= self._tell_due_s:
            self._tell_due_s = now_s + TELL_S
            log.warning(
                "peer %s: sends more than %s, held back (federation.messages_per_second)",
                self._router_id[:64], self._session.rate_limit,
            )  # fmt: skip
