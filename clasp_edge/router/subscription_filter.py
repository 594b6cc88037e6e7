"""The options that SUBSCRIBE carries: maxRate, epsilon and window (router.md 13); one filter per subscription.

- maxRate: at most n deliveries per second and address; the newest value that came in between follows in its time.
- epsilon: a number is delivered only if it differs by at least epsilon from the last one delivered; arrays by
  their largest element difference; anything else always.
- window: stream values and samples of n ms are delivered together, as samples.

They thin what is a course of values: params, streams and gesture moves. Events, timelines and the edges of a gesture
are each a fact of their own and pass.
"""

from __future__ import annotations

from asyncio import TimerHandle
from collections import OrderedDict
from typing import TYPE_CHECKING

from clasp_edge.dataplane.account import Charge
from clasp_edge.dataplane.nearness import near, numbers_of
from clasp_edge.wire import Publish, SubscribeOptions, ValueType, decode, decode_value, encode
from clasp_edge.wire.enums import Phase, SignalType

if TYPE_CHECKING:
    from clasp_edge.router.session import Session

MAX_ADDRESSES = 4096
"""Addresses a thinner remembers; beyond it the one unused for longest starts afresh."""

MAX_WINDOW_SAMPLES = 4096
"""Samples gathered before a window is sent early: half a frame."""

MAX_HELD_BYTES = 1 << 20
"""What a thinner keeps of all its addresses together; beyond it the one unused for longest starts afresh."""

_SAMPLE_BYTES = 32
"""What a number in a list takes, with the reference to it."""

_COURSE_BYTES = 700
"""What an address takes beside its values."""

_FLAGS_AT = 5
"""Where the flags of a PUBLISH are in a frame of ours; their last three bits are the phase (wire.md 2.3)."""

_INDICATOR_AFTER_ADDRESS = 8
"""Where, with the address's length added, a PUBLISH says what it carries."""

_SAMPLES = 2

_COURSES = frozenset({SignalType.PARAM, SignalType.STREAM})


class _Course:
    """What one address last delivered, and what waits."""

    __slots__ = ("delivered", "due_s", "kept_bytes", "pending", "samples", "signal", "timer")

    def __init__(self) -> None:
        self.delivered: bytes | None = None  # as `numbers_of` has it
        self.due_s = 0.0
        self.kept_bytes = 0
        self.pending: tuple[bytes, bytes | None] | None = None
        self.samples: list[float] = []
        self.signal = 0
        self.timer: TimerHandle | None = None


class SubscriptionFilter:
    """Stands between the fan-out and a session, for one subscription with options."""

    def __init__(self, session: Session, options: SubscribeOptions) -> None:
        self._session = session
        self._loop = session.router.loop
        self._interval_s = 1 / options.max_rate if options.max_rate else 0.0
        self._epsilon = options.epsilon if options.epsilon is not None and options.epsilon > 0 else 0.0
        self._window_s = (options.window or 0) / 1000
        self._courses: OrderedDict[tuple[bytes, int], _Course] = OrderedDict()
        self._kept_bytes = 0

    @classmethod
    def wanted(cls, session: Session, options: SubscribeOptions | None) -> SubscriptionFilter | None:
        """A thinner, if the options ask for one."""
        if options is None or not (options.max_rate or options.window or (options.epsilon and options.epsilon > 0)):
            return None
        return cls(session, options)

    def offer(self, address: bytes, signal: int, frame: bytes) -> None:
        """Take one delivery (called by the data plane)."""
        if signal not in _COURSES and not (signal == SignalType.GESTURE and frame[_FLAGS_AT] & 0x07 == Phase.MOVE):
            self._pass(address, signal, frame)
            return
        self._thin(address, signal, frame)
        while self._kept_bytes and (self._kept_bytes > MAX_HELD_BYTES or not self._session.holding.account.within()):
            self._forget_oldest()

    def _thin(self, address: bytes, signal: int, frame: bytes) -> None:
        course = self._course(address, signal)
        numbers = numbers_of(frame) if self._epsilon or self._window_s else None
        if self._window_s and signal == SignalType.STREAM:
            gathered = _samples(frame, numbers)
            if gathered is not None:
                self._gather(address, course, gathered)
                self._weigh(course)
                return
        # Only what is compared later is kept.
        value = numbers if self._epsilon else None
        if value is not None and course.delivered is not None and near(course.delivered, value, self._epsilon):
            course.pending = None  # back near what the client has: nothing is owed to it
            self._weigh(course)
            return
        if self._interval_s:
            now_s = self._loop.time()
            if now_s < course.due_s:
                course.pending = (frame, value)
                self._weigh(course)
                if course.timer is None:
                    course.timer = self._loop.call_at(course.due_s, self._due, address, course)
                return
            course.due_s = now_s + self._interval_s
            # A value may still wait for a timer that is late: this newer one takes its place, and its turn.
            course.pending = None
            if course.timer is not None and not course.samples:
                course.timer.cancel()
                course.timer = None
        course.delivered = value
        self._weigh(course)
        self._pass(address, signal, frame)

    def cancel(self) -> None:
        """The subscription is over."""
        for course in self._courses.values():
            if course.timer is not None:
                course.timer.cancel()
        self._courses.clear()
        self._session.holding.release(self._kept_bytes, Charge.FILTERS)
        self._kept_bytes = 0

    def _course(self, address: bytes, signal: int) -> _Course:
        key = (address, signal)
        course = self._courses.get(key)
        if course is None:
            if len(self._courses) >= MAX_ADDRESSES:
                self._forget_oldest()
            course = self._courses[key] = _Course()
            course.signal = signal
        else:
            self._courses.move_to_end(key)
        return course

    def _forget_oldest(self) -> None:
        (address, _), course = self._courses.popitem(last=False)
        if course.timer is not None:
            course.timer.cancel()
            self._due(address, course)
        self._kept_bytes -= course.kept_bytes
        self._session.holding.release(course.kept_bytes, Charge.FILTERS)

    def _weigh(self, course: _Course) -> None:
        """Keep count of what the course holds on to."""
        frame = course.pending[0] if course.pending is not None else b""
        kept_bytes = _COURSE_BYTES + len(frame) + len(course.samples) * _SAMPLE_BYTES + len(course.delivered or b"")
        if course.pending is not None:
            kept_bytes += len(course.pending[1] or b"")
        holding = self._session.holding
        holding.release(course.kept_bytes, Charge.FILTERS)
        holding.force(kept_bytes, Charge.FILTERS)
        self._kept_bytes += kept_bytes - course.kept_bytes
        course.kept_bytes = kept_bytes

    def _due(self, address: bytes, course: _Course) -> None:
        course.timer = None
        if course.samples:
            samples, course.samples = course.samples, []
            message = Publish(address=address.decode(), signal=SignalType.STREAM, samples=samples, phase=Phase.START)
            self._pass(address, SignalType.STREAM, encode(message))
        if course.pending is not None:
            (frame, value), course.pending = course.pending, None
            course.due_s = self._loop.time() + self._interval_s
            course.delivered = value
            self._pass(address, course.signal, frame)
        self._weigh(course)

    def _gather(self, address: bytes, course: _Course, samples: list[float]) -> None:
        course.samples.extend(samples)
        if len(course.samples) >= MAX_WINDOW_SAMPLES:
            if course.timer is not None:
                course.timer.cancel()
            self._due(address, course)
        elif course.timer is None:
            course.timer = self._loop.call_later(self._window_s, self._due, address, course)

    def _pass(self, address: bytes, signal: int, frame: bytes) -> None:
        oldest_first = signal == SignalType.STREAM or signal == SignalType.GESTURE
        self._session.offer(frame, address, signal, oldest_first)


def _samples(frame: bytes, numbers: bytes | None) -> list[float] | None:
    """The samples of a stream message, or None if it carries something else."""
    if numbers is not None:
        value = decode_value(numbers[0], numbers[1:]) if numbers[0] != ValueType.ARRAY else None
        return [float(value)] if isinstance(value, int | float) else None
    if frame[_INDICATOR_AFTER_ADDRESS + int.from_bytes(frame[6:8], "big")] != _SAMPLES:
        return None
    message = decode(frame)[1]
    return list(message.samples) if isinstance(message, Publish) and message.samples is not None else None
