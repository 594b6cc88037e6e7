"""Wills: what is published for a client that went without a DISCONNECT (5.0, 3.1.2.5 and 3.1.3.2.2)."""

from __future__ import annotations

from asyncio import TimerHandle
from typing import TYPE_CHECKING

from clasp_edge.dataplane.account import Charge, Holding
from clasp_edge.devices.mqtt.codec import Property, Will
from clasp_edge.devices.mqtt.codec.properties import put_property

if TYPE_CHECKING:
    from clasp_edge.devices.mqtt.session import Session

WILL_BYTES = 1024
"""What a will takes beside topic, payload and properties."""

NO_EXPIRY = 0xFFFFFFFF
_NOT_PASSED_ON = (Property.WILL_DELAY_INTERVAL, Property.MESSAGE_EXPIRY_INTERVAL)


class PendingWill:
    """A will that has not been published, and its delay once the client is gone."""

    __slots__ = ("_due_s", "_timer", "delay_s", "holding", "will")

    def __init__(self, will: Will, holding: Holding) -> None:
        self.will = will
        self.holding = holding  # gives back what it has when the will is no more
        self.delay_s = int(will.properties.get(Property.WILL_DELAY_INTERVAL, 0))
        self._timer: TimerHandle | None = None
        self._due_s = 0.0

    def charge(self) -> bool:
        """Take its memory from its client's account. False where there is no room."""
        will = self.will
        texts = sum(len(repr(value)) for value in will.properties.values())
        return self.holding.charge(WILL_BYTES + len(will.topic) + len(will.payload) + texts, Charge.WILLS)

    def start(self, session: Session) -> None:
        """The client is gone: publish after the delay, unless it comes back [MQTT-3.1.3-9]."""
        self.resume(session, self.delay_s)

    def resume(self, session: Session, left_s: float) -> None:
        """The client has been gone for a while."""
        self._due_s = session.server.loop.time() + left_s
        self._timer = session.server.loop.call_later(left_s, self._due, session)

    def left_s(self, now_s: float) -> float:
        """How long it still waits, by the loop's clock; the whole delay while the client is there."""
        return max(0.0, self._due_s - now_s) if self._timer is not None else self.delay_s

    def cancel(self) -> None:
        """The client said goodbye, or is back in time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self, session: Session) -> None:
        self._timer = None
        if session.will is self and session.check_access():
            session.will = None
            self.publish(session)
            if session.is_ghost:
                session.end()
            else:
                session.changed()

    def publish(self, session: Session) -> None:
        """Publish now, with the rights of the client."""
        self.cancel()
        if session.server.sys_topics.bridges.gone(session, self.will.topic.encode(), self.will.payload):
            return
        properties = b"".join(
            put_property(number, value)
            for number, value in self.will.properties.items()
            if number not in _NOT_PASSED_ON
        )
        session.publish_topic(
            self.will.topic.encode(),
            self.will.payload,
            properties,
            self.will.properties.get(Property.MESSAGE_EXPIRY_INTERVAL, NO_EXPIRY),
            self.will.qos,
            self.will.retain,
        )
