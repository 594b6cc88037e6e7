"""What a box tells its hub of how it is: the message, and what may stand in it.

BOX, an operation of FEDERATION_SYNC, goes only to a hub whose PEER says `boxes`. `origin` is a JSON object of the box's
own params by what their addresses have behind `/clasp-edge/`; null for one that is no more; `listen` are its bound
addresses, from which the hub makes the address of its page. `since_revision` 1: it is all there is, and what was told
before is forgotten. Knows no session.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

import msgspec

from clasp_edge.wire import FederationOp, FederationSync, Value, encode

AREAS = ("board", "box", "bridges", "journal", "uplinks")
"""Of the params below /clasp-edge/, those that are told."""

ALSO = re.compile(r"peers/[^/]{1,64}/(name|state|url)|rules/[^/]{1,64}/last_error")
"""Of a box's own boxes: whether they are here. Two routers that have dialled in at each other would else tell each
other of what they tell each other, without end. Of thousands of rules: what is wrong."""

LISTEN = "listen"

MAX_MESSAGE_BYTES = 24_000
MAX_VALUE_BYTES = 16_384
MAX_KEY_BYTES = 160
MAX_BOX_BYTES = 65_536
"""Of one box at its hub: keys and values as JSON, and KEY_BYTES for each."""

KEY_BYTES = 400
"""What a param takes beside its text, in the table and in what is remembered of it."""

MAX_LISTEN = 16


def is_told(key: str) -> bool:
    """Whether a param is one that hubs are told of, by its address without `/clasp-edge/`."""
    area, slash, rest = key.partition("/")
    if not slash or not rest or len(key.encode()) > MAX_KEY_BYTES:
        return False
    return area in AREAS or ALSO.fullmatch(key) is not None


def size_of(key: str, value: Value) -> int:
    """What it counts at the hub."""
    return KEY_BYTES + 2 * (len(key.encode()) + len(msgspec.json.encode(value)))


def box_frames(told: Mapping[str, Value], *, whole: bool) -> list[bytes]:
    """BOX, in as many messages as it takes. Values that JSON cannot hold, or that are too long, are left out."""
    frames: list[bytes] = []
    part: list[bytes] = []
    size = 0

    def end_part() -> None:
        text = b"{" + b",".join(part) + b"}"
        since = 1 if whole and not frames else None
        frames.append(encode(FederationSync(FederationOp.BOX, since_revision=since, origin=text.decode())))

    for key, value in told.items():
        try:
            pair = msgspec.json.encode(key) + b":" + msgspec.json.encode(value)
        except (TypeError, ValueError, msgspec.MsgspecError):
            continue
        if len(pair) > MAX_VALUE_BYTES:
            continue
        if size + len(pair) > MAX_MESSAGE_BYTES:
            end_part()
            part, size = [], 0
        part.append(pair)
        size += len(pair) + 1
    if part or (whole and not frames):
        end_part()
    return frames


def read_box(message: FederationSync) -> tuple[bool, dict[str, Any]]:
    """Whether it is all there is, and the values by key. Raises ValueError with what is wrong with it."""
    text = (message.origin or "").encode()
    if len(text) > MAX_MESSAGE_BYTES + MAX_VALUE_BYTES:
        raise ValueError(f"a BOX of {len(text)} bytes")
    try:
        told = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ValueError("a BOX that is no JSON object") from None
    return bool(message.since_revision), told


def page_url(listen: Any, remote: str) -> str:
    """The address of a box's page: by what it says it listens on, and where it has dialled in from (`host:port`). ""
    where there is none that others can reach. Nothing of what the box says stands in it but a port, and an address."""
    host = remote.rpartition(":")[0].strip("[]").removeprefix("::ffff:")
    if not isinstance(listen, list) or not host or "%" in host:
        return ""
    for scheme, page in (("ws", "http"), ("wss", "https")):
        for each in listen[:MAX_LISTEN]:
            found = _BOUND.fullmatch(each) if isinstance(each, str) else None
            if found is None or found["scheme"] != scheme or not 0 < int(found["port"]) < 65536:
                continue
            bound = found["host"].strip("[]")
            if is_loopback(bound) and not is_loopback(host):
                continue
            reached = host if bound in ("0.0.0.0", "::") or is_loopback(bound) else bound
            if reached != host and not _is_private(reached):
                continue  # a box must not have people sent anywhere
            return f"{page}://{f'[{reached}]' if ':' in reached else reached}:{found['port']}/"
    return ""


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's alone."""
    return host == "::1" or host.startswith("127.")


def _is_private(host: str) -> bool:
    try:
        return ip_address(host).is_private
    except ValueError:
        return False


_BOUND = re.compile(r"(?P<scheme>wss?)://(?P<host>[0-9.]{7,15}|\[[0-9a-fA-F:.]{2,45}\]):(?P<port>[0-9]{1,5})")
