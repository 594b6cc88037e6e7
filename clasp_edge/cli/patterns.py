"""Types of arguments for patterns and scopes: what is no pattern is refused, and those of other systems with how they
are written here."""

from __future__ import annotations

import argparse

from clasp_edge.config.spelling import foreign_scope, foreign_spelling


def pattern(text: str) -> str:
    """An address or a pattern, as it was typed."""
    if reason := foreign_spelling(text):
        raise argparse.ArgumentTypeError(reason)
    from clasp_edge.wire.pattern import Pattern, PatternError

    try:
        Pattern(text.encode())
    except PatternError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None
    return text


def scopes(text: str) -> str:
    """A scope, or several with commas between, as they were typed."""
    if reason := foreign_scope(text):
        raise argparse.ArgumentTypeError(reason)
    return text
