"""A walk over MessagePack bytes that builds nothing: where the first object ends, and that it is safe to build.

Knows the MessagePack format and no CLASP message. The msgpack library allocates every array at the length its
header claims before it has seen an element, and nests 1 024 deep: three kilobytes could claim half a gigabyte.
After this walk every claimed element is known to be there.
"""

from __future__ import annotations

import struct
from typing import Final

from clasp_edge.wire.errors import Kind, WireError
from clasp_edge.wire.limits import MAX_BUNDLE_DEPTH, MAX_VALUE_DEPTH

MAX_NESTING: Final = 2 * MAX_BUNDLE_DEPTH + 4 + MAX_VALUE_DEPTH
"""Deepest legal message: a map and a list for each bundle; a PUBLISH, its timeline, keyframes, keyframe; a value."""

MAX_WORK: Final = 32_000
CONTAINER_WORK: Final = 6
"""What an array or a map takes beside what is in it, in times of what a small value takes: about a microsecond, with
everything that is made of it. A message takes 20 to 45 ms at most; 60,000 empty arrays took 270. A bundle of 2,300 SETs
fits, and so do 7,280 numbers, which fill a payload. In the compact encoding, which is not taken apart, there is no such
bound."""

# Size of what follows the lead byte 0xC0 + index: fixed bytes; None where a length or count field decides.
_FIXED: Final[tuple[int | None, ...]] = (
    (0, None, 0, 0)  # nil, (never used), false, true
    + (None,) * 6  # bin 8/16/32, ext 8/16/32
    + (4, 8)  # float 32/64
    + (1, 2, 4, 8, 1, 2, 4, 8)  # uint, int
    + (2, 3, 5, 9, 17)  # fixext 1/2/4/8/16: a type byte and the data
    + (None,) * 7  # str 8/16/32, array 16/32, map 16/32
)
_NEVER_USED: Final = 0xC1
_U8 = struct.Struct(">B")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")

# Lead byte → length field and the bytes beside the data that it does not count (the type of an ext).
_BLOBS: Final[dict[int, tuple[struct.Struct, int]]] = {
    0xC4: (_U8, 0),
    0xC5: (_U16, 0),
    0xC6: (_U32, 0),
    0xC7: (_U8, 1),
    0xC8: (_U16, 1),
    0xC9: (_U32, 1),
    0xD9: (_U8, 0),
    0xDA: (_U16, 0),
    0xDB: (_U32, 0),
}
# Lead byte → count field and objects per entry.
_CONTAINERS: Final[dict[int, tuple[struct.Struct, int]]] = {
    0xDC: (_U16, 1),
    0xDD: (_U32, 1),
    0xDE: (_U16, 2),
    0xDF: (_U32, 2),
}


def end_of_object(data: bytes) -> int:
    """Offset just past the first MessagePack object in ``data``.

    Raises `WireError`: msgpack-malformed if it is not whole, depth if it nests beyond `MAX_NESTING`, too-large if it
    takes more than `MAX_WORK`.
    """
    pos = work = 0
    missing = 1  # objects still to come in the innermost open container
    outer: list[int] = []  # the same for the containers around it
    try:
        while True:
            while not missing:
                if not outer:
                    if pos > len(data):
                        raise _truncated(data)
                    return pos
                missing = outer.pop()
            missing -= 1
            lead = data[pos]
            pos += 1
            if lead < 0x80 or lead >= 0xE0:  # a small integer
                continue
            if lead >= 0xC0:
                fixed = _FIXED[lead - 0xC0]
                if fixed is not None:
                    pos += fixed
                    continue
                if lead == _NEVER_USED:
                    raise WireError(Kind.MSGPACK_MALFORMED, "0xC1 is no MessagePack type", pos - 1)
                blob = _BLOBS.get(lead)
                if blob is not None:
                    pos += blob[0].size + blob[1] + blob[0].unpack_from(data, pos)[0]
                    continue
                field, per_entry = _CONTAINERS[lead]
                count = field.unpack_from(data, pos)[0] * per_entry
                pos += field.size
            elif lead >= 0xA0:  # a short string
                pos += lead & 0x1F
                continue
            else:
                count = lead & 0x0F if lead & 0x10 else 2 * (lead & 0x0F)
            if len(outer) >= MAX_NESTING:
                raise WireError(Kind.DEPTH, f"MessagePack nests at most {MAX_NESTING} deep here", pos - 1)
            if count > len(data) - pos:
                raise _truncated(data)
            work += CONTAINER_WORK + count
            if work > MAX_WORK:
                raise WireError(Kind.TOO_LARGE, "MessagePack has at most some 30,000 values here", pos - 1)
            outer.append(missing)
            missing = count
    except (IndexError, struct.error):
        raise _truncated(data) from None


def _truncated(data: bytes) -> WireError:
    return WireError(Kind.MSGPACK_MALFORMED, f"the MessagePack object is not whole in its {len(data)} bytes")
