"""From a broker's address to a connection that it has greeted: name, TCP, TLS, CONNECT and CONNACK, each step in time.

Several brokers are tried beside one another: the next one is asked while one that is slow is still waited for. Keeps
nothing up; whether and when to try again is the link's business.
"""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, Task
from collections.abc import Callable, Sequence
from socket import SO_SNDBUF, SOL_SOCKET, socket
from typing import TYPE_CHECKING, NamedTuple

from clasp_edge.clock import Clock
from clasp_edge.config.broker import Broker
from clasp_edge.config.endpoint import Endpoint
from clasp_edge.config.model import Bridge as BridgeConfig
from clasp_edge.devices.daemon import VIA
from clasp_edge.devices.mqtt.codec import Connack, Connect, ConnectReturn, Property, Reason, encode
from clasp_edge.devices.mqtt.codec.types import V5, V311
from clasp_edge.devices.mqtt_bridge.connection import MOST_UNSENT_BYTES, Connection
from clasp_edge.federation.upstream.resolve import ConnectError, Progress, connect

if TYPE_CHECKING:
    from ssl import SSLContext

SESSION_EXPIRY_S = 86_400
"""How long a broker keeps our subscriptions and what arrives for them (MQTT 5; 3.1.1 knows no limit)."""

HEAD_START_S = 0.25
"""So long a broker is alone before the next one is asked beside it, while there is not even a TCP connection."""

GREETING_S = 1.0
"""For a CONNACK, where there is another broker to ask: then one that hangs is told from one that is busy. The next one
is not asked beside it: two of a cluster that both take us would throw the first one out."""

BUSY_GREETING_S = 10.0
"""For the CONNACK of one that is busy: a node of a cluster that waits for a leader, as the others do."""

UNSUPPORTED = (Reason.UNSUPPORTED_PROTOCOL_VERSION, ConnectReturn.UNACCEPTABLE_VERSION)

FAILURE = 0x80
"""From this reason code on something was refused (MQTT 5.0, 2.4)."""


class Greeted(NamedTuple):
    """A connection, and what the broker has said to CONNECT."""

    broker: Broker
    connection: Connection
    connack: Connack


class Failed(Exception):
    """There is no connection; the text says why. `other_version`: it may be because of the version of MQTT."""

    def __init__(self, text: str, *, other_version: bool = False, is_said: bool = False) -> None:
        super().__init__(text)
        self.other_version = other_version
        self.is_said = is_said
        """Whether the broker has said that it is."""


class Dialing:
    """Of one bridge: the way to its brokers, and what is known of them."""

    def __init__(
        self, config: BridgeConfig, client_id: str, clock: Clock, loop: AbstractEventLoop, max_packet: int
    ) -> None:  # fmt: skip
        self._max_packet = max_packet
        self._config = config
        self._client_id = client_id
        self._clock = clock
        self._loop = loop
        self._context: SSLContext | None = None
        self._without_mqtt5: set[Broker] = set()  # they have said so
        self._guesses: dict[Broker, bool] = {}  # the version to try next, where one said nothing at all
        self._waits: set[Broker] = set()  # for the greeting of these

    async def first_of(
        self,
        brokers: Sequence[Broker],
        patience_s: float,
        trying: Callable[[Broker], None],
        failed: Callable[[Broker, str], None],
    ) -> Greeted | None:
        """The first that greets us; each of them is asked once, for `patience_s` in each step. None where nobody
        does."""
        waiting = list(brokers)
        running: dict[Task[Greeted], Broker] = {}
        turn = asyncio.Lock()
        self._waits.clear()
        try:
            while waiting or running:
                if waiting and not self._waits:
                    broker = waiting.pop(0)
                    trying(broker)
                    running[self._loop.create_task(self._dial(broker, patience_s, turn))] = broker
                done, _ = await asyncio.wait(
                    running, timeout=HEAD_START_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                found: Greeted | None = None
                for task in done:
                    broker = running.pop(task)
                    self._waits.discard(broker)
                    error = task.exception()
                    if error is None:
                        found = task.result()
                    elif isinstance(error, Failed):
                        failed(broker, str(error))
                    else:
                        raise error
                if found is not None:
                    return found
            return None
        finally:
            for task in running:
                if not task.cancel() and task.exception() is None:
                    task.result().connection.give_up("not wanted any more")

    async def _dial(self, broker: Broker, patience_s: float, turn: asyncio.Lock) -> Greeted:
        while True:
            mqtt5 = self._guesses.pop(broker, broker not in self._without_mqtt5)
            try:
                return await self._greeted(broker, mqtt5, patience_s, turn)
            except Failed as error:
                if error.other_version and mqtt5 and error.is_said:
                    self._without_mqtt5.add(broker)
                    continue  # asked again at once, in 3.1.1
                if error.other_version and broker not in self._without_mqtt5:
                    self._guesses[broker] = not mqtt5
                raise

    async def _greeted(self, broker: Broker, mqtt5: bool, patience_s: float, turn: asyncio.Lock) -> Greeted:
        """`turn`: of those that are reached at the same time one is told CONNECT after the other, and none after one
        that greets us, which keeps it: a session that nobody takes up would throw out another one, or be in its way."""
        connection = Connection(self._loop, mqtt5)
        done = has_turn = False
        try:
            await self._open(broker, connection, patience_s)
            self._waits.add(broker)
            has_turn = await turn.acquire()
            try:
                connection.write(self._hello(mqtt5))
                connack = await self._connack(broker, connection, patience_s)
            except asyncio.CancelledError:
                if not connection.ended.done():
                    raise
                # A broker that does not know MQTT 5 may say so by closing.
                raise Failed(connection.ended.result(), other_version=True) from None
            if connack.reason:
                # Its own version's, where a broker does not know ours.
                said = Reason if mqtt5 and connack.reason >= FAILURE else ConnectReturn
                raise Failed(
                    f"refused: {reason_text(said, connack.reason)}",
                    other_version=connack.reason in UNSUPPORTED, is_said=True,
                )  # fmt: skip
            done = True
            return Greeted(broker, connection, connack)
        finally:
            if not done:
                connection.give_up("not greeted")
                if has_turn:
                    turn.release()

    async def _connack(self, broker: Broker, connection: Connection, patience_s: float) -> Connack:
        is_only = len(self._config.brokers) == 1
        for wait_s in (patience_s,) if is_only else (GREETING_S, BUSY_GREETING_S):
            try:
                async with asyncio.timeout(wait_s):
                    return await asyncio.shield(connection.greeting)
            except TimeoutError:
                if is_only or wait_s == BUSY_GREETING_S or not await self.answers(broker, GREETING_S):
                    raise Failed(f"no answer to CONNECT within {wait_s:g} s") from None
        raise AssertionError

    async def _open(self, broker: Broker, connection: Connection, patience_s: float) -> None:
        """TCP and TLS."""
        progress = Progress()
        try:
            async with asyncio.timeout(patience_s):
                sock = await connect(
                    Endpoint("tcp", broker.host, broker.port, ""), self._config.keep_alive_s * 2000, progress
                )
            # Else the kernel takes 4 MB of answers for a broker that reads none, before that is noticed here.
            sock.setsockopt(SOL_SOCKET, SO_SNDBUF, MOST_UNSENT_BYTES)
            try:
                async with asyncio.timeout(patience_s):
                    if broker.tls:
                        progress.doing = "TLS"
                        await self._encrypt(broker, connection, sock)
                    else:
                        await self._loop.create_connection(lambda: connection, sock=sock)
            except BaseException:
                sock.close()
                raise
        except TimeoutError:
            raise Failed(f"no answer within {patience_s:g} s: {progress.doing}") from None
        except (ConnectError, OSError, ValueError) as error:
            raise Failed(str(error) or type(error).__name__) from None

    async def _encrypt(self, broker: Broker, connection: Connection, sock: socket) -> None:
        # Here, because OpenSSL takes time and memory to import.
        from clasp_edge.devices.mqtt_bridge.encryption import Encryption
        from clasp_edge.security.certificate_time import time_fault

        encryption = Encryption(self._loop, connection, self._tls_context(), broker.host)
        await self._loop.create_connection(lambda: encryption, sock=sock)
        try:
            certificate = await encryption.established
        except BaseException:
            encryption.close()
            raise
        if fault := time_fault(certificate, self._clock):
            connection.give_up("an old certificate")
            raise Failed(f"TLS: {fault}")

    def _tls_context(self) -> SSLContext:
        import ssl

        from clasp_edge.security.certificate_time import go_by

        if self._context is None:
            context = ssl.create_default_context(cafile=self._config.tls_ca or None)
            if self._config.tls_cert:
                context.load_cert_chain(self._config.tls_cert, self._config.tls_key or None)
            self._context = context
        go_by(self._context, self._clock)
        return self._context

    def _hello(self, mqtt5: bool) -> bytes:
        config = self._config
        properties: dict[int, object] = {}
        if mqtt5:
            properties[Property.SESSION_EXPIRY_INTERVAL] = SESSION_EXPIRY_S
            properties[Property.MAXIMUM_PACKET_SIZE] = self._max_packet
            properties[Property.USER_PROPERTY] = [(VIA, "")]
        version = V5 if mqtt5 else V311
        hello = Connect(
            client_id=self._client_id, version=version, clean_start=False, keep_alive_s=config.keep_alive_s,
            username=config.username or None, properties=properties,
            password=config.password.encode() if config.username and config.password else None,
        )  # fmt: skip
        return encode(hello, version)

    async def answers(self, broker: Broker, patience_s: float) -> bool:
        """Whether anybody is behind a connection that has gone silent. A broker must end a connection that does not
        begin with CONNECT (MQTT 5.0, 3.1.0-1); one that is busy does so, one that hangs does not."""
        probe = Connection(self._loop, True)
        try:
            async with asyncio.timeout(patience_s):
                await self._open(broker, probe, patience_s)
                probe.ping()
                await probe.ended
        except (TimeoutError, Failed):
            return False
        finally:
            probe.give_up("probed")
        return True


def reason_text(names: type[Reason] | type[ConnectReturn], code: int) -> str:
    """A reason code in words."""
    try:
        return names(code).name.replace("_", " ").capitalize()
    except ValueError:
        return f"reason code 0x{code:02X}"
