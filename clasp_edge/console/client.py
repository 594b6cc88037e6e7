"""Asks a running daemon over its control socket, for the command line. Blocking, bounded in time and size."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

TIMEOUT_S = 5.0
MAX_REQUEST_BYTES = 65_536
"""A request is a name and a word or two; a user of an imported ACL may have hundreds of topics."""

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Many times the longest status."""


class NotReached(Exception):
    """No daemon answers; the text says where was looked and what was found there."""


class NoRouter(NotReached):
    """None runs: what it keeps in files may be changed there. One that runs and does not answer, or not to this user,
    is not this."""


class Refused(Exception):
    """The daemon says no; the text says why."""


def ask(places: Sequence[Path], request: Mapping[str, Any], timeout_s: float = TIMEOUT_S) -> Any:
    """The result of a request to the first daemon found at one of these paths. Raises NotReached, Refused."""
    if not places:
        raise NoRouter('the control socket is switched off (console.socket = "off")')
    faults = []
    none_runs = True
    for path in places:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            try:
                connection.connect(str(path))
            except OSError as error:
                faults.append(f"{path}: {_fault(error)}")
                none_runs = none_runs and isinstance(error, FileNotFoundError | ConnectionRefusedError)
                continue
            try:
                connection.sendall(msgspec.json.encode(request) + b"\n")
                answer = _line(connection)
            except OSError as error:
                raise NotReached(f"the router at {path} does not answer: {error.strerror or error}") from None
            return _result(path, answer)
    kind = NoRouter if none_runs else NotReached
    raise kind("no running router was found\n" + "\n".join(f"  {fault}" for fault in faults))


def _fault(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no control socket"
    if isinstance(error, ConnectionRefusedError):
        return "left behind by a router that does not run any more"
    if isinstance(error, PermissionError):
        return "not for this user; its owner, its group and root may use it"
    return error.strerror or str(error)


def _line(connection: socket.socket) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n") and len(received) <= MAX_ANSWER_BYTES:
        data = connection.recv(1 << 16)
        if not data:
            break
        received += data
    return bytes(received)


def _result(path: Path, line: bytes) -> Any:
    try:
        answer = msgspec.json.decode(line)
        if answer["ok"]:
            return answer["result"]
        text = answer["error"]["message"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise NotReached(f"what answers at {path} is no router") from None
    raise Refused(text)
