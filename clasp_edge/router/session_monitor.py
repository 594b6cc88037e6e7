"""The once-a-second look at every connection: who is silent, who is slow, who has lost the right to be here.

router.md 1.5 and 7.2: any inbound byte is a sign of life, a silent peer is asked before it is given up, and
whoever is given up is told why.
"""

from __future__ import annotations

import math
from asyncio import TimerHandle
from functools import partial
from typing import TYPE_CHECKING

from clasp_edge.callbacks import call_each
from clasp_edge.router.link import CloseCode
from clasp_edge.router.memory import Memory
from clasp_edge.wire import ErrorCode

if TYPE_CHECKING:
    from clasp_edge.router.router import Router
    from clasp_edge.router.session import Session

PERIOD_S = 1.0
PING_AFTER_S = 30.0
"""Silence after which a peer is pinged, if a third of the session timeout is not shorter."""

NOTICE_PERIOD_S = 10.0
"""At most one ERROR 503 about dropped messages in this time (router.md 7.2)."""


LAG_LOOKS = 60
"""Looks after which the worst lateness is counted anew; the one before is remembered as well."""


class SessionMonitor:
    """Runs as long as the router does. Each look also tells how late the event loop comes round: `lag_s`."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._timer: TimerHandle | None = None
        self._due_s = math.inf
        self._looks = 0
        self._worst_s = self._worst_before_s = 0.0
        self.lag_s = 0.0
        self._memory = Memory(router)

    @property
    def worst_lag_s(self) -> float:
        """The worst of the last one to two times `LAG_LOOKS` looks."""
        return max(self._worst_s, self._worst_before_s)

    @property
    def overdue_s(self) -> float:
        """How long ago a look should have been taken; 0 where none is due."""
        return max(0.0, self._router.clock.monotonic_s() - self._due_s)

    def start(self) -> None:
        self._due_s = self._router.clock.monotonic_s() + PERIOD_S
        self._timer = self._router.loop.call_later(PERIOD_S, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self.lag_s = self.overdue_s
        self._looks += 1
        if self._looks % LAG_LOOKS == 0:
            self._worst_before_s, self._worst_s = self._worst_s, 0.0
        self._worst_s = max(self._worst_s, self.lag_s)
        self.start()
        core = self._router.core
        core.begin_pass()
        now_us = core.monotonic_us
        call_each(partial(self._check, each, now_us) for each in list(self._router.connections) if not each.closing)
        core.end_pass()
        self._memory.look()

    def _check(self, session: Session, now_us: int) -> None:
        limits = self._router.config.limits
        silent_s = (now_us - session.heard_us) / 1e6
        if not session.greeted:
            if self._router.clock.monotonic_s() - session.connected_s > limits.handshake_timeout_s:
                session.close(CloseCode.POLICY_VIOLATION, "no HELLO in time")
            return
        if session.blocked and (now_us - session.progress_us) / 1e6 > limits.slow_client_timeout_s:
            session.close(CloseCode.POLICY_VIOLATION, "the client is not reading (limits.slow_client_timeout_s)")
            return
        if not self._router.check_access(session):
            return
        timeout_s = limits.session_timeout_s
        if timeout_s and silent_s > timeout_s and not session.input_waits:
            session.close(CloseCode.GOING_AWAY, f"silent for {timeout_s:g} s")
            return
        ping_after_s = min(PING_AFTER_S, timeout_s / 3) if timeout_s else PING_AFTER_S
        if silent_s > ping_after_s and (now_us - session.pinged_us) / 1e6 > ping_after_s:
            session.pinged_us = now_us
            session.link.ping()
        self._tell_drops(session, now_us)

    def _tell_drops(self, session: Session, now_us: int) -> None:
        if session.untold_drops and not session.pressed and now_us / 1e6 - session.told_drops_s >= NOTICE_PERIOD_S:
            session.told_drops_s = now_us / 1e6
            count = session.take_untold_drops()
            text = f"Buffer overflow: messages being dropped ({count} drops in last 10 seconds)"
            session.error(ErrorCode.MESSAGES_DROPPED, text)
