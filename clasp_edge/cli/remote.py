"""A router reached over WebSocket, for commands: any router that speaks CLASP, this one or another.

Blocking; built on the `websockets` library, which is imported with the first such command.
"""

from __future__ import annotations

import contextlib
import hashlib
import ssl
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from clasp_edge import wire

TIMEOUT_S = 5.0
QUIET_S = 0.3
"""A snapshot comes in pieces without an end: this long after the last one it is taken to be whole."""


class Unreachable(Exception):
    """The router cannot be reached, or closed the connection; the text says which and why."""


class RefusedByRouter(Exception):
    """An ERROR of the router: its code and text."""

    def __init__(self, error: wire.Error) -> None:
        super().__init__(f"{error.message} (code {int(error.code)})" + (f": {error.address}" if error.address else ""))
        self.code = int(error.code)


class Remote:
    """One session. A context manager; `name` is what the router sees."""

    def __init__(self, url: str, token: str = "", *, pin: str = "", ca: str = "", name: str = "clasp-edge") -> None:
        """Raises Unreachable, RefusedByRouter."""
        try:
            from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
            from websockets.sync.client import connect
            from websockets.typing import Subprotocol
        except ImportError:
            raise Unreachable("this command needs the library websockets: pip install '.[cli]'") from None
        self.url = url
        self._closed: type[Exception] = ConnectionClosed
        context = _context(url, pin, ca)
        try:
            self._connection: Any = connect(
                url if "/" in url.partition("://")[2] else f"{url}/clasp",
                subprotocols=[Subprotocol("clasp")],
                compression=None,
                ssl=context,
                max_size=None,
                open_timeout=TIMEOUT_S,
                close_timeout=1,
                ping_interval=None,
                proxy=None,
            ).__enter__()
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ConnectionClosed) as error:
            raise Unreachable(f"{url}: {_said(error)}") from None
        if pin:
            encrypted: Any = self._connection.socket
            shown = encrypted.getpeercert(binary_form=True) or b""
            found = f"sha256:{hashlib.sha256(shown).hexdigest()}"
            if found != pin.lower():
                self.close()
                raise Unreachable(f"{url}: the certificate has the fingerprint {found}, and --tls-pin another one")
        self.send(wire.Hello(1, name, ("param", "event", "stream", "gesture", "timeline"), token=token or None))
        self.welcome = self.wait_for(wire.Welcome)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Say goodbye."""
        with contextlib.suppress(Exception):
            self._connection.__exit__(None, None, None)

    def send(self, message: wire.Message) -> None:
        """Send one message. Raises Unreachable."""
        try:
            self._connection.send(wire.encode(message))
        except self._closed as error:
            raise Unreachable(f"{self.url}: {_said(error)}") from None

    def receive(self, timeout_s: float | None) -> wire.Message | None:
        """The next message; None when there was none in time. Answers the router's pings."""
        ends_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = None if ends_s is None else max(0.0, ends_s - time.monotonic())
            try:
                data = self._connection.recv(left_s)
            except TimeoutError:
                return None
            except self._closed as error:
                raise Unreachable(f"{self.url}: {_said(error)}") from None
            if isinstance(data, str):
                continue
            try:
                message = wire.decode(data)[1]
            except wire.WireError:
                continue
            if isinstance(message, wire.Ping):
                self.send(wire.Pong())
                continue
            return message

    def wait_for(self, kind: type[Any] | tuple[type[Any], ...], *, timeout_s: float = TIMEOUT_S) -> Any:
        """The next message of a kind; an ERROR before it is raised."""
        ends_s = time.monotonic() + timeout_s
        while True:
            message = self.receive(max(0.0, ends_s - time.monotonic()))
            if message is None:
                raise Unreachable(f"{self.url}: no answer within {timeout_s:g} s")
            if isinstance(message, wire.Error):
                raise RefusedByRouter(message)
            if isinstance(message, kind):
                return message

    def acknowledged(self, message: wire.Message) -> wire.Ack:
        """Send what the router answers with an ACK, and wait for that."""
        self.send(message)
        found: wire.Ack = self.wait_for(wire.Ack)
        return found

    def get(self, address: str) -> wire.ParamValue | None:
        """One param; None where there is none. The reference router says nothing about what it does not have, and
        answers in order: its PONG is the answer then."""
        self.send(wire.Get(address))
        self.send(wire.Ping())
        found: wire.ParamValue | None = None
        while True:
            try:
                message = self.wait_for((wire.Snapshot, wire.Pong))
            except RefusedByRouter as refusal:
                if refusal.code != wire.ErrorCode.ADDRESS_NOT_FOUND:
                    raise
                continue
            if isinstance(message, wire.Pong):
                return found
            for param in message.params:
                if param.address == address:
                    found = param

    def state(self, pattern: str) -> Iterator[wire.ParamValue]:
        """The params that match, as they are now. They have come when no more of them come; what is written meanwhile
        does not count, or a busy tree would never end."""
        matches = matcher(pattern)
        self.send(wire.Subscribe(1, pattern))
        self.send(wire.Ping())
        seen: set[str] = set()
        ends_s = time.monotonic() + TIMEOUT_S
        while (message := self.receive(max(0.0, ends_s - time.monotonic()))) is not None:
            if isinstance(message, wire.Error):
                raise RefusedByRouter(message)
            if isinstance(message, wire.Snapshot | wire.Pong):
                ends_s = time.monotonic() + QUIET_S
            elif time.monotonic() > ends_s:
                break
            if isinstance(message, wire.Snapshot):
                for param in message.params:
                    if param.address not in seen and matches(param.address):
                        seen.add(param.address)
                        yield param
        self.send(wire.Unsubscribe(1))


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether an address matches. Raises ValueError for what is no pattern."""
    from clasp_edge.wire.pattern import Pattern

    compiled = Pattern(pattern.encode())
    return lambda address: compiled.matches(address.encode())


def _context(url: str, pin: str, ca: str) -> ssl.SSLContext | None:
    if not url.startswith("wss:"):
        if pin or ca:
            raise Unreachable(f"{url}: a pin or an authority goes with wss://")
        return None
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except OSError as error:
        raise Unreachable(f"{ca}: {_said(error)}") from None
    if pin:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _said(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message} (--tls-pin or --tls-ca)"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
