"""Bounds of the wire language, each with its reason. Knows nothing else.

The protocol itself sets only the u16 lengths; the rest are ours, because upstream's decoders can be crashed
by a single frame (wire.md 2.2, 9.3) and every table a remote party fills needs a bound.
"""

from __future__ import annotations

from typing import Final

MAX_PAYLOAD_BYTES: Final = 65535
"""The frame's u16 length field (wire.md 1)."""

MAX_STRING_BYTES: Final = 65535
"""The u16 length in front of every string and bytes value (wire.md 0, 2.2)."""

MAX_COUNT: Final = 65535
"""The u16 count in front of every array, map, sample list and signal list (wire.md 2.2)."""

MAX_VALUE_DEPTH: Final = 64
"""Arrays and maps within each other. Real data stays below 10 (wire.md 2.2), the deepest regular vector has 64."""

MAX_BUNDLE_DEPTH: Final = 4
"""Bundles within each other, the outermost counted. Nothing known sends more than one."""

MAX_ADDRESS_BYTES: Final = 1024
"""UTF-8 bytes of an address or pattern: every table of addresses holds a copy, so their memory needs a bound."""

MAX_ADDRESS_SEGMENTS: Final = 64
"""Segments of an address or pattern: bounds the depth of the subscription trie and the work of matching."""
