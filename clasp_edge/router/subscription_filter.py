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
from clasp_edge.wire import ABSENT, Publish, Set, SubscribeOptions, Value, WireError, decode, encode
from clasp_edge.wire.enums import Phase, SignalType

if TYPE_CHECKING:
    from clasp_edge.router.session import Session

MAX_ADDRESSES = 4096
"""Addresses a thinner remembers; beyond it the one unused for longest starts afresh."""

MAX_WINDOW_SAMPLES = 4096
"""Samples gathered before a window is sent early: half a frame."""

MAX_HELD_BYTES = 1 << 20
"""What a thinner keeps of all its addresses together; beyond it the one unused for longest starts afresh."""

_OBJECT_BYTES = 64
"""About what a number or an empty list in a list takes, with the reference to it."""

_COURSE_BYTES = 700
"""What an address takes beside its values."""

_COURSES = frozenset({SignalType.PARAM, SignalType.STREAM})


class _Course:
    """What one address last delivered, and what waits."""

    __slots__ = ("delivered", "due_s", "kept_bytes", "pending", "samples", "signal", "timer")

    def __init__(self) -> None:
        self.delivered: Value | object = ABSENT
        self.due_s = 0.0
        self.kept_bytes = 0
        self.pending: tuple[bytes, Value | object] | None = None
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
        try:
            _, message = decode(frame)
        except WireError:  # the data plane relays a map with a repeated key and the like as it came
            self._pass(address, signal, frame, ABSENT)
            return
        if not self._is_course(signal, message):
            self._pass(address, signal, frame, ABSENT)
            return
        self._thin(address, signal, frame, message)
        while self._kept_bytes and (self._kept_bytes > MAX_HELD_BYTES or not self._session.holding.account.within()):
            self._forget_oldest()

    def _thin(self, address: bytes, signal: int, frame: bytes, message: object) -> None:
        course = self._course(address, signal)
        if self._window_s and signal == SignalType.STREAM and isinstance(message, Publish):
            gathered = _numbers(message)
            if gathered is not None:
                self._gather(address, course, gathered)
                self._weigh(course)
                return
        # Only what is compared later is kept, for that is many times the size of the frame it came in.
        value: Value | object = ABSENT
        if self._epsilon and isinstance(message, Set | Publish) and _count_objects(message.value) is not None:
            value = message.value
        if self._epsilon and _closer(course.delivered, value, self._epsilon):
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
        self._pass(address, signal, frame, value)

    def cancel(self) -> None:
        """The subscription is over."""
        for course in self._courses.values():
            if course.timer is not None:
                course.timer.cancel()
        self._courses.clear()
        self._session.holding.release(self._kept_bytes, Charge.FILTERS)
        self._kept_bytes = 0

    def _is_course(self, signal: int, message: object) -> bool:
        if signal == SignalType.GESTURE:
            return isinstance(message, Publish) and message.phase == Phase.MOVE
        return signal in _COURSES

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
        objects = len(course.samples) + (_count_objects(course.delivered) or 0)
        if course.pending is not None:
            objects += _count_objects(course.pending[1]) or 0
        kept_bytes = _COURSE_BYTES + len(frame) + objects * _OBJECT_BYTES
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
            self._pass(address, SignalType.STREAM, encode(message), ABSENT)
        if course.pending is not None:
            (frame, value), course.pending = course.pending, None
            course.due_s = self._loop.time() + self._interval_s
            course.delivered = value
            self._pass(address, course.signal, frame, value)
        self._weigh(course)

    def _gather(self, address: bytes, course: _Course, samples: list[float]) -> None:
        course.samples.extend(samples)
        if len(course.samples) >= MAX_WINDOW_SAMPLES:
            if course.timer is not None:
                course.timer.cancel()
            self._due(address, course)
        elif course.timer is None:
            course.timer = self._loop.call_later(self._window_s, self._due, address, course)

    def _pass(self, address: bytes, signal: int, frame: bytes, value: object) -> None:
        oldest_first = signal == SignalType.STREAM or signal == SignalType.GESTURE
        self._session.offer(frame, address, signal, oldest_first)


def _numbers(message: Publish) -> list[float] | None:
    """The samples of a stream message, or None if it carries something else."""
    if message.samples is not None:
        return list(message.samples)
    value = message.value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [float(value)]
    return None


def _count_objects(value: object) -> int | None:
    """How many objects a number or an array of numbers (of any depth) consists of; None for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 1
    if not isinstance(value, list | tuple):
        return None
    count = 1
    for item in value:
        more = _count_objects(item)
        if more is None:
            return None
        count += more
    return count


def _closer(old: object, new: object, epsilon: float) -> bool:
    """Whether both are numbers (or equally long arrays of them) less than `epsilon` apart."""
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        return len(old) == len(new) and all(_closer(a, b, epsilon) for a, b in zip(old, new, strict=True))
    if isinstance(old, bool) or isinstance(new, bool):
        return False
    if isinstance(old, int | float) and isinstance(new, int | float):
        return abs(new - old) < epsilon
    return False
