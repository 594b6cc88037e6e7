"""Text as editors and shells on any system write it, in one piece and line by line."""

from __future__ import annotations

import io

import pytest

from clasp_edge.text_file import as_text, lines_from, no_text, text_of

TEXT = "Bühne 🎭\nzwei\n"


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_marks_and_ends_of_lines_are_no_part_of_it(encoding: str, ends: str) -> None:
    raw = TEXT.replace("\n", ends).encode(encoding)
    assert as_text(raw) == TEXT
    assert list(lines_from(io.BufferedReader(io.BytesIO(raw)))) == TEXT.splitlines(keepends=True)
    assert text_of(io.TextIOWrapper(io.BytesIO(raw))) == TEXT


@pytest.mark.parametrize(("raw", "says"), [(b"a\xff", "UTF-8 text (byte 1)"), (b"\xff\xfe\x00\xd8", "UTF-16 text")])
def test_what_is_no_text_is_a_sentence(raw: bytes, says: str) -> None:
    with pytest.raises(UnicodeDecodeError) as error:
        as_text(raw)
    assert says in no_text(error.value)


def test_nothing_is_nothing() -> None:
    assert text_of(None) == as_text(b"") == ""
    assert list(lines_from(io.BufferedReader(io.BytesIO(b"")))) == []
