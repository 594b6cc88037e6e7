"""Text files as editors and shells on any system write them: with a mark at the beginning that tells the encoding, as
on Windows, or without one in UTF-8; with any of the ends of lines."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO, TextIO

_MARK = b"\xef\xbb\xbf"
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")


def as_text(raw: bytes) -> str:
    """The text of a file. Raises UnicodeDecodeError."""
    text = raw.removeprefix(_MARK).decode("utf-16" if raw[:2] in _WIDE_MARKS else "utf-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_text(path: Path) -> str:
    """The text of this file. Raises OSError, UnicodeDecodeError."""
    return as_text(path.read_bytes())


def without_mark(raw: bytes) -> bytes:
    """What is read of a file in UTF-8."""
    return raw.removeprefix(_MARK)


def text_of(stream: TextIO | None) -> str:
    """All that standard input, say, still has. Raises UnicodeDecodeError."""
    if stream is None:
        return ""
    buffer = getattr(stream, "buffer", None)
    return as_text(buffer.read()) if buffer is not None else stream.read()


def lines_from(stream: BinaryIO | TextIO) -> TextIO:
    """The stream, to be read line by line. Reading raises UnicodeDecodeError."""
    binary = getattr(stream, "buffer", stream)
    if not isinstance(binary, io.BufferedReader):
        assert isinstance(stream, io.TextIOBase)
        return stream
    wide = binary.peek(2)[:2] in _WIDE_MARKS
    return io.TextIOWrapper(binary, encoding="utf-16" if wide else "utf-8-sig")


def no_text(error: UnicodeDecodeError) -> str:
    """What is wrong with a file, to be put behind its name."""
    encoding = "UTF-8" if error.encoding.startswith("utf-8") else "UTF-16"
    return f"is not {encoding} text (byte {error.start})"
