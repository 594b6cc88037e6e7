"""The form that the small settings files share: lines `key = value`, comments, and headings in brackets.

Knows how people's editors write them; not what the keys mean.
"""

from __future__ import annotations

from dataclasses import dataclass

QUOTES = ('""', "''", "“”", "„“", "‘’", "‚‘", "«»", "””")  # noqa: RUF001
"""What may stand around a value; editors on laptops turn straight ones into others."""


@dataclass(frozen=True)
class Line:
    """One line that says something. A heading has an empty `key`, and its text in `value`."""

    number: int
    key: str
    value: str


def decode(raw: bytes) -> str:
    """The text of a file as editors on any system write it. Raises ValueError if it is no text."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    else:
        encoding = "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        raise ValueError("this is not a text file, or it is damaged; please save it as plain text (UTF-8)") from None
    if "\0" in text:
        raise ValueError("this is not a text file, or it is damaged; please write it anew")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def content(text: str) -> list[tuple[int, str]]:
    """The lines with something other than a comment, stripped, each with its number."""
    lines = ((number, line.strip()) for number, line in enumerate(text.split("\n"), 1))
    return [(number, line) for number, line in lines if line and not line.startswith("#")]


def says_nothing(text: str) -> bool:
    """Whether there are only comments and empty lines."""
    return not any(content(text))


def read_lines(text: str, keys: tuple[str, ...], *, headings: bool = False) -> list[Line]:
    """The lines of a file with these keys. Raises ValueError with a sentence that names the line."""
    found = []
    for number, line in content(text):
        if headings and line.startswith("[") and line.endswith("]"):
            found.append(Line(number, "", line[1:-1].strip()))
            continue
        key, equals, value = line.partition("=")
        key = key.strip().lower()
        if not equals or key not in keys:
            known = ", ".join(f'"{k} = ..."' for k in keys)
            # Not the whole line, since all clients read this sentence: it may be a password with its name misspelt.
            shown = f': "{key}"' if equals else ""
            raise ValueError(f"line {number}{shown} is not understood; it should be one of {known}")
        found.append(Line(number, key, unquoted(value.strip())))
    return found


def unquoted(value: str) -> str:
    """The value without quotation marks around it."""
    return value[1:-1] if len(value) >= 2 and value[0] + value[-1] in QUOTES else value
