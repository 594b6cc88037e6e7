"""Patterns and addresses as a person writes them in rules: refused in one place, with one sentence."""

from __future__ import annotations

import re
from functools import lru_cache

from clasp_edge.config.spelling import foreign_spelling
from clasp_edge.rules.table import Table
from clasp_edge.rules.templates import Captures, Template
from clasp_edge.wire.address import validate_address
from clasp_edge.wire.limits import MAX_ADDRESS_SEGMENTS
from clasp_edge.wire.pattern import Pattern, PatternError

_PLAIN = re.compile(rf"(?:/[A-Za-z0-9_.:-]{{1,60}}){{1,{min(16, MAX_ADDRESS_SEGMENTS)}}}")
"""Most addresses that people write: nothing is to be found in them."""


@lru_cache(maxsize=1024)
def _read(text: str) -> tuple[Pattern | None, Captures | None, str]:
    """The pattern and its captures, or why it is none. Many rules look at the same few addresses."""
    if reason := foreign_spelling(text):
        return None, None, reason
    try:
        return Pattern(text.encode()), Captures(text), ""
    except PatternError as error:
        return None, None, str(error)
    except UnicodeEncodeError:
        return None, None, "has no UTF-8 form"


def pattern_at(part: Table, key: str, text: str) -> tuple[Pattern | None, Captures | None]:
    """The pattern that stands at a key; `(None, None)` after a report."""
    pattern, captures, reason = _read(text)
    if reason:
        part.wrong(key, reason)
    return pattern, captures


def literal_at(part: Table, key: str, text: str) -> Pattern | None:
    """The address of one param that stands at a key; None after a report."""
    pattern, _ = pattern_at(part, key, text)
    if pattern is not None and not pattern.literal:
        part.wrong(key, "must be one address, without wildcards")
        return None
    return pattern


def target_at(part: Table, key: str, source: str, captures: int) -> Template:
    """The template at a key for an address that is written to; one of nothing after a report."""
    try:
        made = Template(source, captures, address=True)
        if source and not source.startswith("/"):
            part.wrong(key, f'must begin with "/", not "{source}"')
        elif source:
            # What is put into a place is checked when it is known; the rest has to be an address as it stands.
            whole = source if made.fixed else made.example()
            if not _PLAIN.fullmatch(whole):
                validate_address(whole.encode())
        return made
    except UnicodeEncodeError:
        part.wrong(key, "has no UTF-8 form")
    except ValueError as error:
        part.wrong(key, "is written to, so it is one address and has no wildcards" if "*" in source else str(error))
    return Template("", 0)
