"""A router reached over WebSocket, for commands: any router that speaks CLASP, this one or another.

Blocking; built on the `websockets` library, which is imported with the first such command.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from clasp_edge import wire
from clasp_edge.wire.enums import BARE

TIMEOUT_S = 5.0
ALIVE_S = 10.0
"""A router that is silent so long while somebody watches is asked whether it is there, and has as long to answer."""

RATE_PAUSE_S = 1.1
RATE_TRIES = 5
"""Until there is room for one more within the router's rate."""

QUIET_S = 0.3
"""The reference's snapshots come in pieces without an end: so long after its PONG, or the last piece, there is none."""


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
        context = tls_context(url, pin, ca)
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
        except InvalidURI:
            hint = ", and one of IPv6 goes in brackets: ws://[::1]:7330" if url.startswith(("ws://", "wss://")) else ""
            raise Unreachable(f"{url}: an address begins with ws:// or wss://{hint}") from None
        except (OSError, TimeoutError, InvalidHandshake, ConnectionClosed, ValueError) as error:
            raise Unreachable(f"{url}: {_said(error)}") from None
        # A router that reads no more must not stop who writes for ever.
        self._connection.socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(TIMEOUT_S + ALIVE_S), 0)
        )
        if pin:
            encrypted: Any = self._connection.socket
            shown = encrypted.getpeercert(binary_form=True) or b""
            found = f"sha256:{hashlib.sha256(shown).hexdigest()}"
            if found != pin.lower():
                self.close()
                raise Unreachable(f"{url}: the certificate has the fingerprint {found}, and --tls-pin another one")
        features = ("param", "event", "stream", "gesture", "timeline", BARE)
        self.send(wire.Hello(1, name, features, token=token or None))
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

    def wait_for(self, kind: type[Any] | tuple[type[Any], ...], *, timeout_s: float | None = None) -> Any:
        """The next message of a kind; an ERROR before it is raised."""
        timeout_s = TIMEOUT_S if timeout_s is None else timeout_s
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

    def acknowledged_at_its_rate(self, message: wire.Message) -> wire.Ack:
        """The same of one of many: above its rate the router says so at most once a second, and takes none of them
        meanwhile."""
        for _ in range(RATE_TRIES):
            try:
                return self.acknowledged(message)
            except RefusedByRouter as refusal:
                if refusal.code != wire.ErrorCode.RATE_LIMITED:
                    raise
            time.sleep(RATE_PAUSE_S)
        return self.acknowledged(message)

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
        """The params that match, as they are now: all of them, or Unreachable. What is written meanwhile does not
        count, or a busy tree would never end."""
        if "*" not in pattern:
            one = self.get(pattern)
            yield from () if one is None else (one,)
            return
        matches = matcher(pattern)
        nothing = _matching_nothing(pattern)
        # clasp-edge reads a snapshot in parts, answers other things meanwhile, and one snapshot after the other: an
        # empty one of a pattern that nothing matches is the end of ours.
        in_parts = self._says_what_is_missing(nothing.replace("*", "x"))
        self.send(wire.Subscribe(1, pattern))
        self.send(wire.Get(nothing) if in_parts else wire.Ping())
        seen: set[str] = set()
        answered = False
        ends_s = time.monotonic() + TIMEOUT_S
        while True:
            message = self.receive(max(0.0, ends_s - time.monotonic()))
            if message is None or (answered and time.monotonic() > ends_s):
                break
            if isinstance(message, wire.Error):
                raise RefusedByRouter(message)
            if isinstance(message, wire.Snapshot) and in_parts and not message.params:
                answered = True
                break
            if isinstance(message, wire.Snapshot | wire.Pong):
                answered = answered or isinstance(message, wire.Pong)
                ends_s = time.monotonic() + (QUIET_S if answered else TIMEOUT_S)
            elif time.monotonic() > ends_s:
                break
            if isinstance(message, wire.Snapshot):
                for param in message.params:
                    if param.address not in seen and matches(param.address):
                        seen.add(param.address)
                        yield param
        if not answered:
            raise Unreachable(f"{self.url}: no answer within {TIMEOUT_S:g} s")
        self.send(wire.Unsubscribe(1))

    def _says_what_is_missing(self, address: str) -> bool:
        """Whether a GET of nothing is answered with an ERROR: clasp-edge does, the reference says nothing."""
        self.send(wire.Get(address))
        self.send(wire.Ping())
        said = False
        while True:
            try:
                self.wait_for(wire.Pong)
            except RefusedByRouter as refusal:
                if refusal.code not in (wire.ErrorCode.ADDRESS_NOT_FOUND, wire.ErrorCode.FORBIDDEN):
                    raise
                said = True
                continue
            return said

    def replayed(self, asked: wire.Replay) -> Iterator[wire.Message]:
        """What a REPLAY brings: as SET and PUBLISH. Raises Unreachable where it stops before its end."""
        edge = self._says_what_is_missing(_matching_nothing(asked.pattern).replace("*", "x"))
        self.send(asked)
        self.send(wire.Ping())
        wait_s = TIMEOUT_S
        while (message := self.receive(wait_s)) is not None:
            if isinstance(message, wire.Error):
                raise RefusedByRouter(message)
            if isinstance(message, wire.Ack):
                return
            # The reference says no end.
            wait_s = QUIET_S if isinstance(message, wire.Pong) and not edge else wait_s
            yield message
        if wait_s != QUIET_S:
            raise Unreachable(f"{self.url}: no answer within {TIMEOUT_S:g} s")

    def watched(self, timeout_s: float | None) -> wire.Message | None:
        """As `receive`, for who waits long: a router that is silent is asked whether it is still there. Raises
        Unreachable where it is not."""
        ends_s = None if timeout_s is None else time.monotonic() + timeout_s
        asked = False
        while True:
            left_s = ALIVE_S if ends_s is None else min(ALIVE_S, max(0.0, ends_s - time.monotonic()))
            message = self.receive(left_s)
            if message is not None and not isinstance(message, wire.Pong):
                return message
            if ends_s is not None and time.monotonic() >= ends_s:
                return None
            if message is not None:
                asked = False
            elif asked:
                raise Unreachable(f"{self.url}: no answer within {ALIVE_S:g} s")
            else:
                self.send(wire.Ping())
                asked = True


def _matching_nothing(pattern: str) -> str:
    """A pattern that whoever may read the given one may read as well, and that no address matches."""
    segments = pattern.split("/")
    at = next((at for at, segment in enumerate(segments) if "*" in segment), len(segments) - 1)
    before = segments[at].partition("*")[0]
    segments[at] = f"{before}-{secrets.token_hex(8)}*"
    return "/".join(segments[: at + 1] + [each.replace("*", "x") for each in segments[at + 1 :]])


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether an address matches. Raises ValueError for what is no pattern."""
    from clasp_edge.wire.pattern import Pattern

    compiled = Pattern(pattern.encode())
    return lambda address: compiled.matches(address.encode())


def tls_context(url: str, pin: str, ca: str) -> ssl.SSLContext | None:
    """Whom to trust at the URL; None without TLS. Raises Unreachable."""
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
    if isinstance(error, BlockingIOError):
        return "it reads nothing any more"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message} (--tls-pin or --tls-ca)"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
