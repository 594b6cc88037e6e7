"""Tokens of Retry packets: they prove that who sends an Initial gets what is sent to its address (RFC 9000, 8.1.2).

A token is authenticated, not remembered: who forges addresses costs no memory. Hashing one takes a microsecond, where
a public-key cipher would let strangers buy a millisecond for a datagram.
"""

from __future__ import annotations

import os
import socket
import struct
from hashlib import blake2b
from hmac import compare_digest

VALID_S = 15.0
"""A client answers a Retry within a round trip; what is older was overheard, or the client has given up."""

_TAG_BYTES = 16
_HEAD = struct.Struct(">dBB")
"""When it was made (monotonic seconds), and the lengths of the two connection ids."""

LARGEST_CID = 20
LONGEST = _HEAD.size + 2 * LARGEST_CID + _TAG_BYTES


class RetryTokens:
    """Makes and checks tokens; its key lives as long as the process."""

    def __init__(self) -> None:
        self._key = os.urandom(32)

    def make(self, address: tuple[object, ...], original_cid: bytes, retry_cid: bytes, now_s: float) -> bytes:
        """The token for a client at this address, whose Initial had `original_cid` and is told to use `retry_cid`."""
        body = _HEAD.pack(now_s, len(original_cid), len(retry_cid)) + original_cid + retry_cid
        return body + self._tag(address, body)

    def check(self, address: tuple[object, ...], token: bytes, now_s: float) -> tuple[bytes, bytes] | None:
        """The two connection ids of a token that is ours, fresh and of this address; else None."""
        if not _HEAD.size + _TAG_BYTES <= len(token) <= LONGEST:
            return None
        body, tag = token[:-_TAG_BYTES], token[-_TAG_BYTES:]
        if not compare_digest(self._tag(address, body), tag):
            return None
        made_s, original, retry = _HEAD.unpack_from(body)
        if not 0 <= now_s - made_s <= VALID_S:
            return None
        cids = body[_HEAD.size :]
        return cids[:original], cids[original : original + retry]

    def _tag(self, address: tuple[object, ...], body: bytes) -> bytes:
        host, port = str(address[0]), address[1]
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        place = socket.inet_pton(family, host.partition("%")[0]) + struct.pack(">H", port)
        return blake2b(place + body, key=self._key, digest_size=_TAG_BYTES).digest()
