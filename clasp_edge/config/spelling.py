"""Patterns as other systems write them: `/show/#` of MQTT, `{a,b}` of OSC and shells, `**` inside a segment.

Here they would be taken literally and match nothing, which nobody notices before the show. So they are refused wherever
a person writes a pattern: in the configuration, in scopes, on the command line, and in an OSC device that subscribes.
What clients send over the network is not looked at here: there the protocol's rules hold (wire.md 4).
"""

from __future__ import annotations

import re
from itertools import islice, product

_MULTI = {"#": "**", ">": "**", "...": "**", "**": "**"}
_SINGLE = {"+": "*"}
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")
_SET = re.compile(r"\[(?:[!^][^\]]+|[^\]]-[^\]][^\]]*)\]")
_STARS = re.compile(r"\*{2,}")
_OURS = re.compile(r"(?:/(?:[A-Za-z0-9_:-]+|\*\*?))+")
"""What most patterns look like, of which there may be thousands."""
MOST_SPELLED_OUT = 8
LONGEST_SHOWN = 200


def foreign_spelling(text: str) -> str | None:
    """Why `text`, meant as an address pattern, is one of another system, and how it is written here; None if it is not.

    A pattern with a `*` inside a segment is a glob, in which braces, sets and `?` are what they are elsewhere.
    """
    if not text.startswith("/") or _OURS.fullmatch(text):
        return None  # an address begins with "/": that is said by whoever reads it
    if "//" in text.removesuffix("/"):
        return _said(text, '"//" (any depth, OSC 1.1)', [re.sub("/{2,}", "/**/", text)])
    segments = text[1:].split("/")
    found = [segment for segment in segments if (segment in _MULTI and segment != "**") or segment in _SINGLE]
    if found:
        right = "/" + "/".join(_MULTI.get(segment) or _SINGLE.get(segment) or segment for segment in segments)
        return _said(text, f'"{found[0]}"', [right])
    for segment in segments:
        if segment != "**" and _STARS.search(segment):
            what = f'"{segment}" ("**" is a whole segment, "*" may be a part of one)'
            right = "/".join(
                "**" if set(each) == {"*"} and len(each) > 1 else _STARS.sub("*", each) for each in segments
            )
            return _said(text, what, [f"/{right}"])
    if any("*" in segment and segment not in ("*", "**") for segment in segments):
        return None
    if braces := _BRACES.search(text):
        choices = [match.group(1).split(",") for match in _BRACES.finditer(text)]
        spelled = [
            _BRACES.sub("%s", text.replace("%", "%%")) % each
            for each in islice(product(*choices), MOST_SPELLED_OUT + 1)
        ]
        return _said(text, f'"{braces.group()}"', spelled)
    if found_set := _SET.search(text):
        return _said(text, f'"{found_set.group()}"', [_SET.sub("*", text)])
    if any("?" in segment for segment in segments):
        return _said(text, '"?" (one character)', [text.replace("?", "*")])
    return None


def foreign_scope(text: str) -> str | None:
    """The same of `action:pattern`."""
    return foreign_spelling(text.partition(":")[2].strip())


def _said(text: str, what: str, right: list[str]) -> str:
    shown = " and ".join(f'"{one}"' for one in right[:MOST_SPELLED_OUT])
    more = ", ..." if len(right) > MOST_SPELLED_OUT else ""
    one = "write" if len(right) == 1 else "write several patterns,"
    return f'{what[:LONGEST_SHOWN]} is no wildcard of CLASP: "{text[:LONGEST_SHOWN]}"; {one} {shown[:1000]}{more}'
