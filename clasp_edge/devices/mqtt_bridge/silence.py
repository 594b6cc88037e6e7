"""Whether a broker that says nothing is still there: PINGREQ, its answer, and a second connection beside the first.

Where there is another broker to go to, a silent one is asked after a tenth of the keep-alive and given up after a
fifth, unless it shows elsewhere that it lives: a node of a cluster may wait for a leader, as the others do.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, Task, TimerHandle
from typing import TYPE_CHECKING

from clasp_edge.config.broker import Broker
from clasp_edge.devices.mqtt.codec import Connack, Property
from clasp_edge.devices.mqtt_bridge.connection import Connection

if TYPE_CHECKING:
    from clasp_edge.devices.mqtt_bridge.dialing import Dialing

SHORTEST_S = 0.8
"""Before a broker is asked: a machine under load is not a dead one."""

GRANULARITY_S = 0.05


class Watch:
    """Of one connection, until `close`. `probe`: how its broker is reached once more; None: there is no other one."""

    def __init__(
        self, loop: AbstractEventLoop, connection: Connection, keep_alive_s: int, connack: Connack,
        probe: tuple[Dialing, Broker] | None,
    ) -> None:  # fmt: skip
        self.is_silent = False
        """Whether the connection was given up because nothing came."""
        self._loop = loop
        self._connection = connection
        self._probe = probe
        # A broker may ask for a shorter one. One that asks for none, or a longer one, has ours all the same.
        said: int = connack.properties.get(Property.SERVER_KEEP_ALIVE, 0)
        self._must_say_s = 0.75 * min(said or keep_alive_s, keep_alive_s)
        self._longest_s = max(1.5 * keep_alive_s, 2 * SHORTEST_S)
        self._ask_after_s = max(keep_alive_s / (2 if probe is None else 10), SHORTEST_S)
        self._asked_s = 0.0
        self._lives_until_s = 0.0
        self._probing: Task[bool] | None = None
        self._timer: TimerHandle | None = None
        self._look()

    def close(self) -> None:
        """No more timers."""
        if self._timer is not None:
            self._timer.cancel()
        if self._probing is not None:
            self._probing.cancel()

    def _look(self) -> None:
        now_s = self._loop.time()
        connection = self._connection
        silent_s = now_s - connection.heard_s
        if silent_s >= (self._longest_s if self._probe is None or now_s < self._lives_until_s else self._dead_after_s):
            self.is_silent = True
            connection.give_up(f"Keep alive timeout: nothing has come for {silent_s:.1f} s")
            return
        asked = self._asked_s > connection.heard_s
        if (silent_s >= self._ask_after_s and not asked) or now_s - connection.sent_s >= self._must_say_s:
            self._asked_s = now_s
            connection.ping()
            asked = True
        if silent_s >= 1.2 * self._ask_after_s and self._probe is not None and self._probing is None:
            dialing, broker = self._probe
            self._probing = self._loop.create_task(dialing.answers(broker, self._ask_after_s))
            self._probing.add_done_callback(self._probed)
        due_s = [connection.sent_s + self._must_say_s, connection.heard_s + self._ask_after_s]
        if silent_s >= self._ask_after_s:
            due_s[1:] = [now_s + self._ask_after_s / 5]
        self._timer = self._loop.call_at(max(min(due_s), now_s + GRANULARITY_S), self._look)

    @property
    def _dead_after_s(self) -> float:
        return min(2 * self._ask_after_s, self._longest_s)

    def _probed(self, task: Task[bool]) -> None:
        self._probing = None
        if not task.cancelled() and task.exception() is None and task.result():
            self._lives_until_s = self._loop.time() + 2 * self._ask_after_s
