"""/tree.json: what there is in the params, one level at a time or by a piece of the address, for a page that must not
be sent a hundred thousand params to show ten.

    /tree.json?at=/stage          {"at": "/stage", "branches": [["desk", false, true]], "next": ""}
    /tree.json?find=fader         {"addresses": ["/stage/fader"], "next": "5c02..."}
    /tree.json?changed=10         {"changed": [[0.4, "/stage/fader"]], "next": ""}   within 10 s, and how long ago

`next` is not empty where there is more: it comes back as `after` or `from`.

A branch is its segment, whether it is a param itself, and whether there is something below. Values are not here: they
are what a CLASP client subscribes to. Whoever may not read something is not told of it.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any
from urllib.parse import parse_qs

from clasp_edge.dataplane.browse import addresses_with, branches, written_since
from clasp_edge.dataplane.plane import Plane
from clasp_edge.dataplane.reserved import RESERVED
from clasp_edge.security.scope import Scopes, reaches_below

MOST_BRANCHES = 200
MOST_FOUND = 50
MOST_CHANGED = 200
LOOKS = 4096
"""Addresses that a search looks at before others get their turn: a fraction of a millisecond."""


def answer(plane: Plane, scopes: Scopes | None, query: str) -> dict[str, Any]:
    """The object for a query as above. `scopes` is what the asker may do, None everything."""
    asked = {name: values[0] for name, values in parse_qs(query, max_num_fields=8).items()}
    if "find" in asked:
        found, following = addresses_with(
            plane, asked["find"].encode(), _opened(asked.get("from", "")), MOST_FOUND, LOOKS
        )
        return {
            "addresses": [_text(name) for name in found if scopes is None or scopes.allows("read", name)],
            "next": _sealed(following),
        }
    if "changed" in asked:
        return _changed(plane, scopes, asked)
    at = asked.get("at", "").rstrip("/").encode()
    listed, following = branches(plane, at, _opened(asked.get("after", "")), MOST_BRANCHES)
    shown = []
    for segment, param, below in listed:
        address = at + b"/" + segment
        may = scopes is None or scopes.allows("read", address)
        reaches = below and (scopes is None or reaches_below(scopes, address))
        if (param and may) or reaches:
            shown.append([_text(segment), param and may, reaches])
    return {"at": _text(at), "branches": shown, "next": _sealed(following)}


def _changed(plane: Plane, scopes: Scopes | None, asked: dict[str, str]) -> dict[str, Any]:
    text = asked["changed"]
    within_s = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 10
    now_us = time.time_ns() // 1000
    cursor = _opened(asked.get("from", ""))
    found, following = written_since(plane, now_us - within_s * 1_000_000, cursor, MOST_CHANGED, LOOKS)
    told = [
        [round(max(0, now_us - when_us) / 1e6, 1), _text(name)]
        for when_us, name in found
        if not name.startswith(RESERVED) and (scopes is None or scopes.allows("read", name))
    ]
    return {"changed": told, "next": _sealed(following)}


_KEY = os.urandom(16)


def _sealed(cursor: bytes) -> str:
    """Where to go on, for whoever asks to hand back. It may be an address that the asker is not to know."""
    if not cursor:
        return ""
    salt = os.urandom(8)
    return (salt + _veil(salt, cursor)).hex()


def _opened(text: str) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        return b""
    return _veil(data[:8], data[8:])


def _veil(salt: bytes, data: bytes) -> bytes:
    stream = hashlib.shake_256(_KEY + salt).digest(len(data))
    return bytes(one ^ other for one, other in zip(data, stream, strict=True))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
