"""What we have published and a broker without MQTT 5 will send back to us: recognised once, never applied.

A 3.1.1 broker sends a subscriber its own messages too, each exactly once and in its own order. So while one of ours is
expected, whatever else arrives for that topic stands before ours in the broker's order and is already overtaken.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from enum import Enum

MAX_TOPICS = 4096
MAX_PER_TOPIC = 256
"""More than a link has under way; beyond that the oldest are taken for lost."""

EXPECTED_FOR_S = 10.0
"""An echo that has not come by then will not come: the broker refused the message, or us the subscription."""


class Seen(Enum):
    """What an arriving message is."""

    FOREIGN = 0
    OWN = 1
    OVERTAKEN = 2


class EchoMemory:
    """The payloads that are still to come back, by topic."""

    def __init__(self) -> None:
        self._expected: OrderedDict[str, deque[tuple[float, bytes]]] = OrderedDict()

    def sent(self, topic: str, payload: bytes, now_s: float) -> None:
        """We are about to publish this."""
        expected = self._expected.get(topic)
        if expected is None:
            if len(self._expected) >= MAX_TOPICS:
                self._expected.popitem(last=False)
            expected = self._expected[topic] = deque(maxlen=MAX_PER_TOPIC)
        else:
            self._expected.move_to_end(topic)
        expected.append((now_s, payload))

    def seen(self, topic: str, payload: bytes, now_s: float) -> Seen:
        """This has arrived."""
        expected = self._expected.get(topic)
        if expected is None:
            return Seen.FOREIGN
        while expected and now_s - expected[0][0] > EXPECTED_FOR_S:
            expected.popleft()
        own = any(payload == other for _, other in expected)
        # Those before it have been lost or come in another order: nothing to wait for.
        while own and expected.popleft()[1] != payload:
            pass
        if not expected:
            del self._expected[topic]
            return Seen.OWN if own else Seen.FOREIGN
        return Seen.OWN if own else Seen.OVERTAKEN

    def forget(self) -> None:
        """The link broke: what has not come back by now may never do so."""
        self._expected.clear()
