"""Notifications of Mosquitto's bridges: `$SYS/broker/connection/NAME/state`, "1" while a bridge is connected and "0"
from then on, where the users of Mosquitto look whether it is.

A client may say so under the one topic that its own will names, which a bridge puts there itself, and nobody else while
it is connected; where there are tokens, only one that lets it write something. So there are no more of them than
clients, and a bounded number of those that have left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from clasp_edge.security.scope import Action

if TYPE_CHECKING:
    from clasp_edge.devices.mqtt.session import Session

PREFIX = "$SYS/broker/connection/"
GONE = b"0"
LONGEST_TOPIC = 512
LONGEST_PAYLOAD = 64
MOST_LEFT = 256
"""Of bridges that are gone, the newest."""


class BridgeNotes:
    """The newest notification of each bridge. `changed` is called when `due` is not empty any more."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._holders: dict[str, Session] = {}
        self._left: dict[str, bytes] = {}
        self._here: dict[str, bytes] = {}
        self._due: dict[str, bytes] = {}

    def said(self, session: Session, topic: bytes, payload: bytes) -> bool:
        """A client has published this. Returns whether it was a notification of its own."""
        will = session.will
        if will is None or will.will.topic.encode() != topic or not _fits(topic, payload) or not _writes(session):
            return False
        name = topic.decode()
        if self._holders.get(name, session) is not session:
            return False
        self._holders[name] = session
        self._left.pop(name, None)
        self._here[name] = payload
        self._tell(name, payload)
        return True

    def gone(self, session: Session, topic: bytes, payload: bytes) -> bool:
        """The will of a client is due. Returns whether it was a notification: nobody else is to publish it. What a
        connected bridge says counts for more."""
        name = topic.decode()
        if not name.startswith(PREFIX):
            return False
        if _fits(topic, payload) and name not in self._holders and _writes(session):
            self._leave(name, payload)
        return True

    def disconnected(self, session: Session) -> None:
        """A client's connection has ended, in whatever way."""
        will = session.will
        for name in [name for name, holder in self._holders.items() if holder is session]:
            del self._holders[name], self._here[name]
            self._leave(name, will.will.payload if will is not None and will.will.topic == name else GONE)

    def values(self) -> dict[str, bytes]:
        """Every topic with its payload."""
        return self._left | self._here

    def due(self) -> dict[str, bytes]:
        """What subscribers have not been told of yet."""
        due, self._due = self._due, {}
        return due

    def _leave(self, name: str, payload: bytes) -> None:
        before = self._left.pop(name, None)
        self._left[name] = payload
        if len(self._left) > MOST_LEFT:
            del self._left[next(iter(self._left))]
        if payload != before:
            self._tell(name, payload)

    def _tell(self, name: str, payload: bytes) -> None:
        if not self._due:
            self._changed()
        self._due[name] = payload


def _writes(session: Session) -> bool:
    return session.scopes is None or bool(session.scopes.patterns(Action.WRITE))


def _fits(topic: bytes, payload: bytes) -> bool:
    return topic.startswith(PREFIX.encode()) and len(topic) <= LONGEST_TOPIC and len(payload) <= LONGEST_PAYLOAD
