"""A show under way on several federated hosts: who writes, who listens, and what must be true in the end.

On each box a writer sets the params of the box's own part and sends numbered events, each acknowledged by its own
router; on every host a witness records all that comes. When the writers have stopped and the network is well, `settle`
waits until the hosts agree and holds them to the promises: every owned param equal everywhere and as it was written
last, no acknowledged event missing on any host, none twice, all in order, no value after a newer one, and silence
afterwards.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from support.client import Closed, WsClient
from support.federation_net import Host, Net
from support.live import POLL_S, subscribe

from clasp_edge import wire
from clasp_edge.wire import Qos

PARAMS = 10
EVENTS_PER_ROUND = 3
ROUND_PAUSE_S = 0.02
RETRY_S = 0.05

QUIET_S = 0.5
QUIET_PACKETS = 150
"""In that time, of three hosts: pings and heartbeats. A message that goes in circles makes thousands."""

_LOST = (Closed, TimeoutError, OSError, EOFError, AssertionError)
"""What a client meets when its router dies at any moment, the assertions being those of its greeting."""


class _Role(threading.Thread):
    """A client that comes back as long as it is needed."""

    def __init__(self, host: Host, what: str) -> None:
        super().__init__(name=f"{what} on {host.name}", daemon=True)
        self.host = host
        self.interruptions = 0
        self.error: BaseException | None = None
        self.ready = threading.Event()
        self._ending = threading.Event()

    def run(self) -> None:
        try:
            while self.needed:
                try:
                    client = self.host.client(self.name)
                except _LOST:
                    time.sleep(RETRY_S)
                    continue
                try:
                    self.work(client)
                    return
                except (Closed, TimeoutError, OSError):
                    self.interruptions += 1
                finally:
                    with contextlib.suppress(OSError):
                        client.abort()
        except BaseException as error:
            self.error = error
            self.ready.set()

    @property
    def needed(self) -> bool:
        return not self._ending.is_set()

    def work(self, client: WsClient) -> None:
        raise NotImplementedError

    def give_up(self) -> None:
        """End soon; nobody looks at it any more."""
        self._ending.set()

    def end(self) -> None:
        """Come to an end, properly."""
        self._ending.set()
        self.join(30)
        if self.error is not None:
            raise AssertionError(f"{self.name} has failed: {self.error!r}") from self.error
        assert not self.is_alive(), f"{self.name} does not end"


class Writer(_Role):
    """Sets `prefix`/p/0.. and publishes `prefix`/cue, each value a number higher than all before."""

    def __init__(self, host: Host, prefix: str) -> None:
        super().__init__(host, "writer")
        self.prefix = prefix
        self.acknowledged: dict[str, int] = {}
        self.events: set[int] = set()
        self.sent_events: set[int] = set()
        self._number = 0
        self._complete = False

    def give_up(self) -> None:
        super().give_up()
        self._complete = True

    @property
    def needed(self) -> bool:
        # One last round, also where the router is away just then.
        return not self._complete

    def work(self, client: WsClient) -> None:
        while True:
            last = self._ending.is_set()
            self._round(client)
            self.ready.set()
            if last or self._complete:
                self._complete = True
                return
            time.sleep(ROUND_PAUSE_S)

    def _round(self, client: WsClient) -> None:
        sets: dict[str, int] = {}
        for index in range(PARAMS):
            self._number += 1
            sets[f"{self.prefix}/p/{index}"] = self._number
            client.send(wire.Set(address=f"{self.prefix}/p/{index}", value=self._number))
        events = []
        for _ in range(EVENTS_PER_ROUND):
            self._number += 1
            events.append(self._number)
            self.sent_events.add(self._number)
            cue = wire.Publish(address=f"{self.prefix}/cue", signal=wire.SignalType.EVENT, value=self._number)
            client.send(wire.Bundle(messages=[cue]), Qos.CONFIRM)
        for address, value in sets.items():
            ack = client.recv_type(wire.Ack)
            assert ack.address == address, f"{ack} is not of {address}"
            self.acknowledged[address] = value
        for number in events:
            client.recv_type(wire.Ack)
            self.events.add(number)


class Witness(_Role):
    """Hears everything on its host below these prefixes."""

    def __init__(self, host: Host, prefixes: Sequence[str]) -> None:
        super().__init__(host, "witness")
        self._prefixes = prefixes
        self._lock = threading.Lock()
        self._events: dict[str, list[int]] = {}
        self.backwards: list[str] = []
        self.newest: dict[str, int] = {}
        self.sets = 0

    def events(self, prefix: str) -> list[int]:
        with self._lock:
            return list(self._events.get(f"{prefix}/cue", ()))

    def work(self, client: WsClient) -> None:
        for number, prefix in enumerate(self._prefixes):
            for message in subscribe(client, f"{prefix}/**", id=number + 1):
                self._note(message)
        self.ready.set()
        while not self._ending.is_set():
            try:
                self._note(client.recv(0.1))
            except TimeoutError:
                continue

    def _note(self, message: wire.Message) -> None:
        with self._lock:
            if isinstance(message, wire.Publish):
                assert isinstance(message.value, int)
                self._events.setdefault(message.address, []).append(message.value)
            elif isinstance(message, wire.Set):
                assert isinstance(message.value, int)
                self.sets += 1
                if message.value < (newest := self.newest.get(message.address, 0)):
                    self.backwards.append(f"{message.address}: {message.value} after {newest}")
                self.newest[message.address] = message.value
            elif isinstance(message, wire.Error):
                raise AssertionError(f"{self.name} was told {message}")


@dataclass
class Report:
    """How a show went. `converged_s` counts from the end of the last fault."""

    converged_s: float
    params: int
    events: int

    def __str__(self) -> str:
        return f"{self.converged_s:.2f} s until all agreed on {self.params} params and {self.events} events"


class Show:
    """`owners` are the boxes that write, each below /BOX/`part`. A context manager around the faults.

    `killed` are the hosts whose daemon is killed meanwhile: who listens there misses some, but its journal does not.
    """

    def __init__(
        self,
        net: Net,
        part: str,
        owners: Sequence[str] = ("a", "b"),
        killed: Sequence[str] = (),
    ) -> None:
        self._net = net
        self._killed = killed
        self.hub = next(iter(net))
        self.writers = {name: Writer(net[name], f"/{name}/{part}") for name in owners}
        prefixes = [writer.prefix for writer in self.writers.values()]
        self.witnesses = {host.name: Witness(host, prefixes) for host in net}
        self._ended_s = 0.0

    def __enter__(self) -> Self:
        # Whoever is to hear everything is there before anything is said.
        for roles in (self.witnesses.values(), self.writers.values()):
            for role in roles:
                role.start()
            for role in roles:
                assert role.ready.wait(15), f"{role.name} does not begin"
                assert role.error is None, f"{role.name}: {role.error!r}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended_s = time.monotonic()
        try:
            if error is None:
                for writer in self.writers.values():
                    writer.end()
                return
        except BaseException:
            self._give_up()
            raise
        self._give_up()

    def _give_up(self) -> None:
        for role in (*self.witnesses.values(), *self.writers.values()):
            role.give_up()

    def settle(self, timeout_s: float = 30.0) -> Report:
        """Wait until all agree, and check. Prints and returns the report."""
        try:
            return self._settle(timeout_s)
        finally:
            self._give_up()

    def _settle(self, timeout_s: float) -> Report:
        deadline_s = time.monotonic() + timeout_s
        while (open_questions := self._disagreement()) and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
        converged_s = time.monotonic() - self._ended_s
        assert not open_questions, f"after {timeout_s:g} s: {open_questions}"
        self._stay_quiet()
        for witness in self.witnesses.values():
            witness.end()
        assert not self._disagreement(), "they agreed, and then did not"
        self._check_events()
        for name, witness in self.witnesses.items():
            if name not in self._killed:
                assert witness.interruptions == 0, f"{witness.name} was cut off"
                # A hub that was killed may come back with older values than it had told; those are soon made good.
                if self.hub.name not in self._killed:
                    assert not witness.backwards, f"{witness.name} heard old values: {witness.backwards[:5]}"
        report = Report(
            converged_s,
            sum(len(writer.acknowledged) for writer in self.writers.values()),
            sum(len(writer.events) for writer in self.writers.values()),
        )
        print(report)
        return report

    def _disagreement(self) -> str:
        """What is not yet as it has to be; empty if all is."""
        for name, writer in self.writers.items():
            for host in self._net:
                found = host.values(f"{writer.prefix}/p/")
                if found != writer.acknowledged:
                    wrong = {
                        address: (found.get(address), value)
                        for address, value in writer.acknowledged.items()
                        if found.get(address) != value
                    }
                    return f"{host.name} has of {name} (is, should be): {wrong or sorted(found)}"
            for host in self._net:
                for what, events in self._heard(host, writer.prefix).items():
                    if missing := writer.events - set(events):
                        lacking = f"{len(missing)} of {len(writer.events)} events of {name}, such as {min(missing)}"
                        return f"{what} lacks {lacking}"
        return ""

    def _heard(self, host: Host, prefix: str) -> dict[str, list[int]]:
        """The events below the prefix that are known on a host, by who knows them. Who listens at a daemon that is
        killed is cut off for a while."""
        heard = {f"the journal of {host.name}": self._recorded(host, prefix)}
        if host.name not in self._killed:
            heard[self.witnesses[host.name].name] = self.witnesses[host.name].events(prefix)
        return heard

    def _recorded(self, host: Host, prefix: str) -> list[int]:
        """The events below the prefix in the host's journal."""
        with host.client("auditor") as auditor:
            auditor.send(wire.Replay(pattern=f"{prefix}/cue", types=(wire.SignalType.EVENT,)), Qos.CONFIRM)
            found: list[int] = []
            while not isinstance(message := auditor.recv(), wire.Ack):
                assert isinstance(message, wire.Publish), message
                assert isinstance(message.value, int)
                found.append(message.value)
            return found

    def _check_events(self) -> None:
        for name, writer in self.writers.items():
            for host in self._net:
                for who, events in self._heard(host, writer.prefix).items():
                    missing = writer.events - set(events)
                    assert not missing, f"{who} missed {len(missing)} events of {name}, such as {min(missing)}"
                    twice = [number for number, count in Counter(events).items() if count > 1]
                    assert not twice, f"{who}: {len(twice)} events of {name} twice, such as {twice[0]}"
                    unknown = set(events) - writer.sent_events
                    assert not unknown, f"{who}: {len(unknown)} events that {name} never sent"
                    assert events == sorted(events), f"{who} heard the events of {name} out of order"

    def _stay_quiet(self) -> None:
        before = self._net.packets()
        time.sleep(QUIET_S)
        packets = self._net.packets() - before
        assert packets < QUIET_PACKETS, f"{packets} packets in {QUIET_S:g} s while nobody writes"
