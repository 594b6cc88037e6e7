"""Bundles that wait for their time: a bounded queue, woken by a timer of the kernel.

The event loop's own timers count whole milliseconds; a timerfd on the wall clock fires within microseconds on an idle
machine, and follows the clock when it is set (router.md 6: execution on server time).
"""

from __future__ import annotations

import ctypes
import heapq
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clasp_edge.router.bundle import check_bundle, execute_bundle
from clasp_edge.wire import ErrorCode

if TYPE_CHECKING:
    from clasp_edge.router.router import Router
    from clasp_edge.router.session import Session

log = logging.getLogger("clasp_edge.router")

_CLOCK_REALTIME = 0
_TFD_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_TFD_TIMER_ABSTIME = 1
_TFD_TIMER_CANCEL_ON_SET = 2


class _Timespec(ctypes.Structure):
    _fields_ = (("sec", ctypes.c_long), ("nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class WallTimer:
    """A timerfd on the wall clock (timerfd_create(2); Python wraps it only from 3.13 on). `fd` is readable when due."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd: int = self._libc.timerfd_create(_CLOCK_REALTIME, _TFD_FLAGS)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def set(self, at_us: int) -> None:
        """Fire at `at_us` (Unix microseconds; 0 disarms), or when the clock is set."""
        spec = _Itimerspec(_Timespec(0, 0), _Timespec(at_us // 1_000_000, at_us % 1_000_000 * 1000))
        flags = _TFD_TIMER_ABSTIME | _TFD_TIMER_CANCEL_ON_SET
        if self._libc.timerfd_settime(self.fd, flags, ctypes.byref(spec), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def clear(self) -> None:
        """Take note of an expiry, or of a clock that was set (ECANCELED)."""
        try:
            os.read(self.fd, 8)
        except OSError as error:
            log.debug("the schedule's timer: %s", error)

    def close(self) -> None:
        os.close(self.fd)


class Schedule:
    """The waiting bundles of all sessions, soonest first, in the order of arrival where times are equal."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._queue: list[tuple[int, int, Session, Sequence[bytes], int]] = []
        self._count = 0
        self._timer: WallTimer | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, session: Session, due_us: int, payloads: Sequence[bytes], qos: int) -> None:
        """Queue a checked bundle, or send the ERROR that says why not."""
        limits = self._router.config.limits
        ahead_s = (due_us - self._router.clock.wall_us()) / 1e6
        if ahead_s > limits.schedule_horizon_s:
            text = f"Bundle rejected: {ahead_s:.0f} s ahead, at most {limits.schedule_horizon_s:.0f} s are allowed"
            session.error(ErrorCode.REVISION_CONFLICT, text)
            return
        if len(self._queue) >= limits.max_scheduled_bundles:
            text = f"Bundle rejected: {limits.max_scheduled_bundles} bundles are already waiting for their time"
            session.error(ErrorCode.MESSAGES_DROPPED, text)
            return
        self._count += 1
        session.scheduled += 1
        heapq.heappush(self._queue, (due_us, self._count, session, payloads, qos))
        self._arm()

    def close(self) -> None:
        """Forget everything that waits; the router stops."""
        self._queue.clear()
        if self._timer is not None:
            self._router.loop.remove_reader(self._timer.fd)
            self._timer.close()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = WallTimer()
            self._router.loop.add_reader(self._timer.fd, self._due)
        self._timer.set(self._queue[0][0] if self._queue else 0)

    def _due(self) -> None:
        assert self._timer is not None
        self._timer.clear()
        core = self._router.core
        core.begin_pass()
        now_us = self._router.clock.wall_us()
        while self._queue and self._queue[0][0] <= now_us:
            _, _, session, payloads, qos = heapq.heappop(self._queue)
            session.scheduled -= 1
            self._execute(session, payloads, qos)
        core.end_pass()
        self._arm()

    def _execute(self, session: Session, payloads: Sequence[bytes], qos: int) -> None:
        """The world may have changed since the bundle was accepted: scopes, locks and revisions are checked again."""
        if self._router.lost_access(session):
            session.error(ErrorCode.SCOPE_FAILURE, "Scheduled bundle cancelled: the sender is no longer authorised")
        else:
            refusal = check_bundle(session, payloads)
            if refusal is None:
                execute_bundle(session, payloads, qos)
            else:
                session.error(refusal.code, f"Scheduled bundle cancelled: {refusal.text}", refusal.address)
        self._router.settle(session)
