"""The data representations of MQTT (5.0, 1.5): integers, variable byte integers, strings, binary data.

Reads are checked against the end of the packet, writes against the range of the type.
"""

from __future__ import annotations

from clasp_edge.devices.mqtt.codec.reason import malformed

MAX_VARINT = 268_435_455
"""The largest variable byte integer (5.0, 1.5.5)."""

MAX_STRING_BYTES = 65_535


class Reader:
    """A position in one packet's body."""

    __slots__ = ("data", "end", "pos")

    def __init__(self, data: bytes, pos: int = 0, end: int | None = None) -> None:
        self.data = data
        self.pos = pos
        self.end = len(data) if end is None else end

    def left(self) -> int:
        """Bytes not read yet."""
        return self.end - self.pos

    def take(self, size: int, what: str) -> bytes:
        """The next `size` bytes."""
        if size > self.end - self.pos:
            raise malformed(f"the packet ends inside its {what}")
        self.pos += size
        return self.data[self.pos - size : self.pos]

    def number(self, size: int, what: str) -> int:
        """An unsigned big-endian integer of `size` bytes."""
        return int.from_bytes(self.take(size, what), "big")

    def varint(self, what: str) -> int:
        """A variable byte integer; one written with more bytes than it needs is malformed [MQTT-1.5.5-1]."""
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.number(1, what)
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                if shift and not byte:
                    raise malformed(f"the {what} is not written in its shortest form")
                return value
        raise malformed(f"the {what} takes more than four bytes")

    def binary(self, what: str) -> bytes:
        """Binary data after its length in two bytes."""
        return self.take(self.number(2, what), what)

    def text(self, what: str) -> str:
        """A UTF-8 string: well-formed, without surrogates and without U+0000 (5.0, 1.5.4)."""
        data = self.binary(what)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise malformed(f"the {what} is not UTF-8") from None
        if "\0" in text:
            raise malformed(f"the {what} contains U+0000")
        return text


def put_varint(value: int) -> bytes:
    """A variable byte integer. Raises ValueError beyond `MAX_VARINT`."""
    if not 0 <= value <= MAX_VARINT:
        raise ValueError(f"{value} is no variable byte integer")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def put_binary(data: bytes) -> bytes:
    """Binary data with its length. Raises ValueError for more than 65,535 bytes."""
    if len(data) > MAX_STRING_BYTES:
        raise ValueError(f"{len(data)} bytes do not fit a string or binary data")
    return len(data).to_bytes(2, "big") + data


def put_text(text: str) -> bytes:
    """A UTF-8 string with its length."""
    return put_binary(text.encode())
