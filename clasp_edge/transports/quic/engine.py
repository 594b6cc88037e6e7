"""What is needed of qh3, the library that speaks QUIC: one configuration of a listener, and the few places where its
public interface does not reach.

qh3 is a sans-I/O engine (datagrams in, datagrams and events out). Its version is pinned to a minor one because of
the last functions here.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection
from qh3.quic.events import ConnectionTerminated
from qh3.tls import load_pem_private_key, load_pem_x509_certificates

from clasp_edge.wire.extensions import ALPN, ALPN_EDGE

# It tells at WARNING what a peer has said when it closed.
logging.getLogger("quic").setLevel(logging.CRITICAL)

IDLE_TIMEOUT_S = 30.0

STREAM_WINDOW = 65_536
CONNECTION_WINDOW = 98_304
"""Bytes that a peer may have sent before those ahead of them have arrived: what one connection can make us hold. Enough
for 300 kB/s over a round trip of 200 ms, and for 60 MB/s over one of 1 ms."""

CID_BYTES = 8

SMALLEST_INITIAL = 1200
"""Bytes of a datagram that begins a connection (RFC 9000, 14.1)."""

MAX_REASON_CHARACTERS = 200
"""Of what a peer says, in the log."""

CRYPTO_ERROR = 0x100
"""TLS alerts are errors from here on (RFC 9001, 4.8)."""

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\r?\n.*?-----END \1-----", re.DOTALL)


def listener_configuration(chain: Path, key: Path) -> QuicConfiguration:
    """What a listener is configured with: the certificate with the chain behind it, and its key. Raises OSError, and
    ValueError with a reason for files that cannot be used."""
    certificates, _ = _blocks(chain)
    _, keys = _blocks(key)
    if not certificates or not keys:
        raise ValueError("no certificate or no key in it")
    configuration = QuicConfiguration(
        is_client=False,
        alpn_protocols=[ALPN_EDGE, ALPN],
        idle_timeout=IDLE_TIMEOUT_S,
        max_stream_data=STREAM_WINDOW,
        max_data=CONNECTION_WINDOW,
        connection_id_length=CID_BYTES,
    )
    try:
        found = load_pem_x509_certificates(b"\n".join(certificates) + b"\n")
        configuration.private_key = load_pem_private_key(keys[0] + b"\n")
    except Exception as error:
        # The library raises what its parts raise; there is no common class.
        raise ValueError(f"QUIC cannot use it: {error}") from None
    configuration.certificate, configuration.certificate_chain = found[0], found[1:]
    return configuration


def _blocks(path: Path) -> tuple[list[bytes], list[bytes]]:
    """Certificates and private keys in the file, in PEM. It may have both, and text between them."""
    certificates: list[bytes] = []
    keys: list[bytes] = []
    for block in _BLOCK.finditer(path.read_bytes()):
        if block[1] == b"CERTIFICATE":
            certificates.append(block[0])
        elif block[1].endswith(b"PRIVATE KEY"):
            keys.append(block[0])
    return certificates, keys


MOST_ADDRESSES = 4
"""Of a client in the life of a connection. The engine has a place for each, gives none back, and drops what comes from
a fifth."""


def is_from_peer(connection: QuicConnection, datagram: bytes, address: Any, now_s: float) -> bool:
    """Take in a datagram as if it had come from `address`; whether the peer has made it, and it is not a repetition."""
    core = connection._core
    if core is None:
        return False
    accepted: int = core.receive_datagram(datagram, address, now_s, len(datagram))[2]
    return accepted > 0


def incoming(connection: QuicConnection, datagrams: list[bytes], address: Any, now_s: float) -> int:
    """Take in datagrams that came together from one address. As the library's `receive_many_datagrams`, which looks at
    the address and at each datagram once more. Returns how many packets in them were the peer's and had not come
    before; until the handshake is over nobody counts. May raise whatever the library raises."""
    core = connection._core
    accepted = 0
    if core is None or not connection._handshake_complete:
        connection.receive_many_datagrams(datagrams, address, now_s)
    elif datagrams:
        accepted = core.receive_many_datagrams(datagrams, address, now_s)[2]
        connection._drain_core()
    return accepted


def outgoing(connection: QuicConnection, now_s: float) -> list[tuple[Any, list[bytes]]]:
    """Datagrams that are to be sent now, by where to. As the library's `datagrams_to_send`, which takes each apart
    once more for a log that nobody keeps: a tenth of what a message costs. May raise whatever the library raises."""
    core = connection._core
    found: list[tuple[Any, list[bytes]]] = []
    if core is not None:
        poll = core.poll_transmit
        last = None
        several: list[bytes] = []
        while (datagram := poll(now_s)) is not None:
            if datagram[1] != last:
                last = datagram[1]
                several = []
                found.append((last, several))
            several.append(datagram[0])
    return found


def said_at_end(event: ConnectionTerminated) -> str:
    """Why a connection has ended that the other end, or its silence, has ended: for people."""
    reason = event.reason_phrase
    if "idle" in reason.lower() and "timeout" in reason.lower():
        return f"no sign of life for {IDLE_TIMEOUT_S:g} s"
    shown = "".join(character if character.isprintable() else "?" for character in reason[:MAX_REASON_CHARACTERS])
    if event.error_code:
        return f"the client has closed the connection, error 0x{event.error_code:x}: {shown or 'no reason given'}"
    return f"the client has closed the connection{f': {shown}' if shown else ''}"


def bytes_in_flight(connection: QuicConnection) -> int:
    """Bytes that were sent and are not acknowledged: the library keeps them to send them again."""
    core = connection._core
    return 0 if core is None else core.bytes_in_flight
