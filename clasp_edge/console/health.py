"""Whether the router is well: its listeners are bound, and its event loop comes round in time.

Read by /healthz and the status; looks at what others keep and measures nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable

from clasp_edge.router.session_monitor import SessionMonitor

UNHEALTHY_LAG_S = 1.0
"""A loop that is later than this keeps every client waiting; what it does for one is over within milliseconds."""


class Health:
    """`unbound()` names the listeners that should be there and are not."""

    def __init__(self, watch: SessionMonitor, unbound: Callable[[], list[str]]) -> None:
        self._watch = watch
        self._unbound = unbound
        self.ready = False
        """Set when the start is over."""

    def lag_s(self) -> float:
        """How late the loop was at its last look, or is now."""
        return max(self._watch.lag_s, self._watch.overdue_s)

    def worst_lag_s(self) -> float:
        """The worst of the last one to two minutes."""
        return max(self._watch.worst_lag_s, self._watch.overdue_s)

    def fault(self) -> str | None:
        """What is wrong, in a few words; None when nothing is."""
        if not self.ready:
            return "starting"
        if unbound := self._unbound():
            return f"not listening: {', '.join(unbound)}"
        if self.lag_s() > UNHEALTHY_LAG_S:
            return f"the event loop is {self.lag_s():.1f} s late"
        return None
