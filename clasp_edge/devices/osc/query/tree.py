"""The params below `osc.namespace` as OSCQuery has them: a JSON object for each node (OSCQuery proposal, 2018-08-31).

    {"FULL_PATH": "/fader/1", "TYPE": "f", "VALUE": [0.5], "ACCESS": 3, "RANGE": [{"MIN": 0.0, "MAX": 1.0}]}

A path is the OSC address that a device says, so what stands here can be sent to the OSC port as it is. Types are those
of the newest value; ranges, units and descriptions come from ANNOUNCE. Made in pieces, so a tree of a hundred thousand
params holds up nobody. Knows no sockets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from clasp_edge.dataplane.browse import branches
from clasp_edge.dataplane.plane import Plane
from clasp_edge.devices.osc.encode import Encoder, padded
from clasp_edge.security.scope import Scopes, reaches_below
from clasp_edge.wire import SignalMeta, Value, WireError, decode_value
from clasp_edge.wire.limits import MAX_ADDRESS_BYTES

BRANCHES_AT_ONCE = 64

READ, WRITE = 1, 2

OFFERED = ("FULL_PATH", "CONTENTS", "TYPE", "ACCESS", "VALUE", "RANGE", "DESCRIPTION", "UNIT")
NOT_OFFERED = ("TAGS", "EXTENDED_TYPE", "CRITICAL", "CLIPMODE", "OVERLOADS", "HTML")
"""Attributes of the proposal that no node has here: not an error to ask for."""

EXTENSIONS = {
    **dict.fromkeys(("ACCESS", "VALUE", "RANGE", "DESCRIPTION", "UNIT"), True),
    **dict.fromkeys(("LISTEN", "PATH_ADDED", "PATH_REMOVED", "PATH_CHANGED"), True),
    **dict.fromkeys((*NOT_OFFERED, "PATH_RENAMED"), False),
}

SLASH = b"/"


class QueryTree:
    """`base` is the namespace; `meta(address)` is what was announced of an address, and its access as text;
    `access_at(host)` is what devices there may do, None for everything; shown is what `host` may read."""

    def __init__(
        self,
        plane: Plane,
        base: bytes,
        encoder: Encoder,
        meta: Callable[[str], tuple[SignalMeta | None, str]],
        access_at: Callable[[str], Scopes | None],
        host: str = "",
    ) -> None:
        self.plane = plane
        self.base = base
        self._encoder = encoder
        self._meta = meta
        self._access_at = access_at
        self._host = host

    def seen_from(self, host: str) -> QueryTree:
        """The same, as a client there may read it."""
        return QueryTree(self.plane, self.base, self._encoder, self._meta, self._access_at, host)

    def _scopes(self) -> Scopes | None:
        return self._access_at(self._host)

    def exists(self, path: bytes) -> Iterator[bool]:
        """Whether there is a node: a param that may be read, or something below. The root is always there. The last
        answer counts; those before it are False, and mean that much was looked at."""
        if len(self.base + path) > MAX_ADDRESS_BYTES:
            yield False
        elif path == b"" or self._is_param(path):
            yield True
        else:
            for segment in self._children(path):
                yield segment is not None
                if segment is not None:
                    return

    def node(self, path: bytes) -> Iterator[str]:
        """The JSON of a node and all below it, in small pieces; an empty one where much was looked at."""
        attributes = self._attributes(path)
        yield msgspec.json.encode(attributes).decode()[:-1]
        first = True
        for segment in self._children(path):
            if segment is None:
                yield ""
                continue
            yield ',"CONTENTS":{' if first else ","
            first = False
            yield msgspec.json.encode(_text(segment)).decode() + ":"
            yield from self.node(path + SLASH + segment)
        if not first:
            yield "}"
        elif path == b"":
            yield ',"CONTENTS":{}'
        yield "}"

    def attribute(self, path: bytes, name: str) -> Any:
        """One attribute of a node, None where it has none. CONTENTS is not asked for here (`node`). Raises KeyError for
        what is no attribute."""
        if name in NOT_OFFERED:
            return None
        if name not in OFFERED:
            raise KeyError(name)
        return self._attributes(path).get(name)

    def _children(self, path: bytes) -> Iterator[bytes | None]:
        """The segments below; None now and then."""
        scopes = self._scopes()
        after = b""
        while True:
            listed, after = branches(self.plane, self.base + path, after, BRANCHES_AT_ONCE)
            for segment, param, below in listed:
                address = self.base + path + SLASH + segment
                shown = param and (scopes is None or scopes.allows("read", address))
                if (shown or (below and (scopes is None or reaches_below(scopes, address)))) and segment:
                    yield segment
            if not after:
                return
            yield None

    def _is_param(self, path: bytes) -> bool:
        address = self.base + path
        scopes = self._scopes()
        return self.plane.describe(address) is not None and (scopes is None or scopes.allows("read", address))

    def _attributes(self, path: bytes) -> dict[str, Any]:
        node: dict[str, Any] = {"FULL_PATH": _text(path) or "/"}
        address = self.base + path
        described = self.plane.describe(address) if path and self._is_param(path) else None
        if described is None:
            node["ACCESS"] = 0
            return node
        try:
            value = decode_value(described[1], described[2])
        except WireError:  # not of a value that the router has taken
            value = None
        scopes = self._scopes()
        meta, access = self._meta(_text(address))
        node["TYPE"] = types_of(self._encoder, path, value)
        node["VALUE"] = [as_json(each) for each in flat(value)]
        writable = (scopes is None or scopes.allows("write", address)) and access not in ("r", "read")
        node["ACCESS"] = READ | (WRITE if writable else 0)
        if meta is not None and meta.range is not None and all(map(math.isfinite, meta.range)):
            low, high = meta.range
            node["RANGE"] = [{"MIN": low, "MAX": high} for tag in node["TYPE"] if tag not in "[]"]
        if meta is not None and meta.description:
            node["DESCRIPTION"] = meta.description
        if meta is not None and meta.unit:
            node["UNIT"] = [meta.unit]
        return node


def types_of(encoder: Encoder, path: bytes, value: Value) -> str:
    """The type tags with which a value is sent."""
    tags = encoder.message(path, value)[len(padded(path)) :]
    return tags[1 : tags.index(b"\0")].decode()


def flat(value: Value) -> Iterator[Value]:
    """The arguments that a value is."""
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from flat(each)
    else:
        yield value


def as_json(value: Value) -> Any:
    """What stands in VALUE; a map is a text, as it is over OSC."""
    if isinstance(value, Mapping):
        return msgspec.json.encode(_plain(value)).decode()
    return _plain(value)


def _plain(value: Value) -> Any:
    """Bytes have no form in JSON, nor have numbers that it does not know. A map within a map stays one: a text within a
    text doubles its backslashes, and a map of sixty within each other would have no end."""
    if isinstance(value, (bytes, bytearray, memoryview)) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value


def host_info(name: str, osc_port: int, ws_port: int) -> dict[str, Any]:
    """`?HOST_INFO`. Without OSC_IP and WS_IP: a client takes the host that it asked."""
    return {
        "NAME": name,
        "EXTENSIONS": EXTENSIONS,
        "OSC_PORT": osc_port,
        "OSC_TRANSPORT": "UDP",
        "WS_PORT": ws_port,
    }


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
