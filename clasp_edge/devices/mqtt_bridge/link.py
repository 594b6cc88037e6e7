"""The connection to one of a bridge's brokers, in a thread of its own: connecting, fail-over, back-off.

paho-mqtt is used through its calls for an external loop, all of them from this thread, so that nothing of it is shared.
Knows neither addresses nor values nor policies.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

from clasp_edge.backoff import STABLE_S, Backoff
from clasp_edge.clock import Clock
from clasp_edge.config.broker import Broker, parse_broker
from clasp_edge.config.model import Bridge as BridgeConfig
from clasp_edge.devices.mqtt_bridge.events import Down, Filter, Outgoing, Trying
from clasp_edge.devices.mqtt_bridge.handover import Handover

if TYPE_CHECKING:
    from clasp_edge.devices.mqtt_bridge.session import Session

log = logging.getLogger("clasp_edge.bridge")

LONGEST_POLL_S = 5.0
"""paho wants to look at its clock now and then."""

PUBLISHES_PER_TURN = 64

PATIENCE_S = (1.0, 2.0, 5.0)
"""For each step of a connection, in the first round through several brokers, the second, and from then on: the next
one may be there at once. A single broker has the longest."""

LAST_TURNS = 16
"""So many turns' messages go out when the bridge stops."""

SHUNNED_S = 30.0
"""For so long a broker that has failed comes after those that have not."""


class Link:
    """Keeps one connection up, whatever it takes. `start` once, `stop` once; the rest any time, on the loop."""

    def __init__(
        self,
        config: BridgeConfig,
        client_id: str,
        filters: Sequence[Filter],
        handover: Handover,
        random: Random,
        clock: Clock,
        max_packet: int,
    ) -> None:
        self.config = config
        self._max_packet = max_packet
        self._clock = clock
        self.client_id = client_id
        self.filters = list(filters)
        self.handover = handover
        self._brokers = [parse_broker(text) for text in config.brokers]
        self._backoff = Backoff(random)
        self._outgoing: deque[tuple[int, Outgoing]] = deque()
        self._subscribe_for = 0
        self._session: Session | None = None
        self._without_mqtt5: set[Broker] = set()  # they have said so
        self._guesses: dict[Broker, bool] = {}  # the version to try next, where one said nothing at all
        self._failed: dict[Broker, float] = {}  # and when, the last time
        self._connection = 0
        self._first_connection = 1
        self._stopping = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._awake = False
        self._pipe_lock = threading.Lock()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="bridge", daemon=True)

    # ---- on the loop ----

    def start(self) -> None:
        """Begin to connect; events follow."""
        self._thread.start()

    def send(self, connection: int, messages: Sequence[Outgoing]) -> None:
        """Publish over the connection that `Up` named; `Done` follows for each, perhaps after reconnecting."""
        self._outgoing.extend((connection, message) for message in messages)
        self.wake()

    def subscribe(self, connection: int) -> None:
        """Subscribe to all filters on that connection."""
        self._subscribe_for = connection
        self.wake()

    def wake(self) -> None:
        """Have the thread look at what has changed."""
        if not self._awake:
            self._awake = True
            with self._pipe_lock, suppress(BlockingIOError):
                if not self._ended:
                    os.write(self._wake_write, b"w")

    def stop(self) -> None:
        """Have the thread disconnect and end; it may be busy with a name look-up or a connection that does not come."""
        self._stopping = True
        self._awake = False
        self.wake()

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has ended. It is a daemon thread: one that takes longer is left behind."""
        self._thread.join(timeout_s)

    # ---- in the thread ----

    def _run(self) -> None:
        try:
            rounds = 0
            while not self._stopping:
                lasted_s = 0.0
                patience_s = PATIENCE_S[-1 if len(self._brokers) == 1 else min(rounds, len(PATIENCE_S) - 1)]
                for broker in self._in_order():
                    lasted_s = self._try(broker, patience_s)
                    if lasted_s or self._stopping:
                        break  # it worked: whatever comes next starts with the first broker again
                rounds = 0 if lasted_s else rounds + 1
                # One of several is likely to be there: the others are asked at once.
                if lasted_s < STABLE_S or len(self._brokers) == 1:
                    self._sleep(self._backoff.after(lasted_s))
        except ImportError as error:
            self.handover.put(Down(f"paho-mqtt is not installed: {error}"))
            log.error("bridges need paho-mqtt: pip install '.[bridge]' (%s)", error)
        except Exception as error:
            self.handover.put(Down(f"internal error: {error!r}"))
            log.exception("a bridge has failed")
        finally:
            with self._pipe_lock:
                self._ended = True
                os.close(self._wake_read)
                os.close(self._wake_write)

    def _in_order(self) -> list[Broker]:
        """As configured, but for those that have failed just now: they come last, the latest at the very end."""
        since_s = time.monotonic() - SHUNNED_S
        failed = {broker: at_s for broker, at_s in self._failed.items() if at_s > since_s}
        return sorted(self._brokers, key=lambda broker: failed.get(broker, 0.0))

    def _try(self, broker: Broker, patience_s: float) -> float:
        """Connect to a broker and stay with it. Returns the seconds the link was up, 0 if it never was."""
        # Here, because it takes a tenth of a second and brings OpenSSL with it.
        from clasp_edge.devices.mqtt_bridge.session import Session

        self.handover.put(Trying(str(broker)))
        lasted_s = 0.0
        while not self._stopping:
            mqtt5 = self._guesses.get(broker, broker not in self._without_mqtt5)
            session = self._session
            if session is None or session.broker != broker or session.mqtt5 != mqtt5:
                session = self._session = Session(
                    self.config, self.client_id, self.handover, broker, mqtt5, self._clock, self._max_packet
                )  # fmt: skip
                self._first_connection = self._connection + 1
            lasted_s = self._serve(session, patience_s)
            self._guesses.pop(broker, None)
            if session.version_refused:
                self._without_mqtt5.add(broker)
                continue  # asked again at once, in 3.1.1
            if session.closed_silently:
                self._guesses[broker] = not mqtt5
            return lasted_s
        return lasted_s

    def _serve(self, session: Session, patience_s: float) -> float:
        """One connection from beginning to end."""
        self._connection += 1
        try:
            reason = session.open(self._connection, patience_s)
            while not reason:
                reason = self._turn(session)
        except Exception as error:
            # Whatever a broker sends, or paho makes of it, costs this connection and not the bridge.
            log.exception("a bridge's connection to %s has failed", session.broker)
            reason = f"internal error: {error!r}"
        lasted_s = session.close()
        # One that has closed a connection may have it again at once; one that has gone silent is asked last.
        if lasted_s and not session.silent:
            self._failed.pop(session.broker, None)
        else:
            self._failed[session.broker] = time.monotonic()
        self.handover.put(Down(reason if len(self._brokers) == 1 else f"{session.broker}: {reason}"))
        return lasted_s

    def _turn(self, session: Session) -> str:
        """Wait for something and deal with it. Returns why the connection is over, or ""."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        fd = session.fileno()
        if fd < 0:
            return session.reason()
        paused = session.is_full
        poll.register(fd, (0 if paused else select.POLLIN) | (select.POLLOUT if session.wants_write() else 0))
        ready = dict(poll.poll(0 if session.pending() and not paused else session.timeout_s(LONGEST_POLL_S) * 1000))
        if self._wake_read in ready:
            self._take_wake()
        if self._stopping:
            self._say_the_rest(session)
            return "stopped"
        events = ready.get(fd, 0)
        if events & select.POLLOUT:
            session.write()
        if not paused and (events & (select.POLLIN | select.POLLHUP | select.POLLERR) or session.pending()):
            session.read()
        session.look_at_clock()
        if session.up:
            self._publish(session)
        session.flush()
        return session.reason()

    def _say_the_rest(self, session: Session) -> None:
        """What was said before the stop still goes out, as far as the broker takes it at once: wills are among it."""
        for _ in range(LAST_TURNS):
            if not session.up or not self._outgoing:
                break
            self._publish(session)
            session.flush()

    def _publish(self, session: Session) -> None:
        if self._subscribe_for == self._connection:
            self._subscribe_for = 0
            session.subscribe(self.filters)
        for _ in range(PUBLISHES_PER_TURN):
            if not self._outgoing:
                return
            connection, message = self._outgoing.popleft()
            # What a session that is gone had been given is counted as not sent, and so is QoS 0 of another connection.
            if connection == self._connection or (message.qos and connection >= self._first_connection):
                session.publish(message)
        self._awake = False
        self.wake()

    def _take_wake(self) -> None:
        # Before looking for what it was about: whoever comes later writes again.
        self._awake = False
        with suppress(BlockingIOError):
            os.read(self._wake_read, 64)

    def _sleep(self, delay_s: float) -> None:
        until_s = time.monotonic() + delay_s
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        while not self._stopping and (left_s := until_s - time.monotonic()) > 0:
            if poll.poll(left_s * 1000):
                self._take_wake()
