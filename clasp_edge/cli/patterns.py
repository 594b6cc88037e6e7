"""Types of arguments: patterns and scopes (what is no pattern is refused, and those of other systems with how they are
written here), and numbers within their bounds."""

from __future__ import annotations

import argparse
import math
import os

from clasp_edge.config.spelling import foreign_scope, foreign_spelling


def pattern(text: str) -> str:
    """An address or a pattern, as it was typed."""
    text = text_of(text)
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


def osc_address(text: str) -> str:
    """An address of OSC."""
    if not text.startswith("/"):
        raise argparse.ArgumentTypeError(f"{text}: an OSC address begins with /")
    return text


def number(text: str) -> int:
    """How many: at least one."""
    return whole(text, least=1)


def whole(text: str, *, least: int = 0, most: int = 2**31 - 1) -> int:
    """A whole number from `least` to `most`."""
    if not text.isascii() or not text.isdigit() or len(text) > 10 or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text}: is a whole number from {least} to {most}")
    return int(text)


def host_and_port(text: str) -> tuple[str, int]:
    """Where somebody listens: HOST:PORT, [IPv6]:PORT."""
    from clasp_edge.config.listen import parse_listen

    try:
        found = parse_listen(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if found is None or not found.host or not found.port:
        raise argparse.ArgumentTypeError(f"{text}: is no HOST:PORT")
    return found.host, found.port


def speed(text: str) -> float:
    """How many times as fast; 0 for as fast as possible."""
    found = _finite(text)
    if found is None or found < 0:
        raise argparse.ArgumentTypeError(f"{text}: is a number, 0 or above")
    return found


def seconds(text: str) -> float:
    """A time that passes."""
    found = _finite(text)
    if found is None or found <= 0:
        raise argparse.ArgumentTypeError(f"{text}: is a number of seconds above 0")
    return found


def _finite(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def text_of(argument: str) -> str:
    """An argument as it was typed: UTF-8, also where the locale is none (LANG=C); else what the locale makes of it."""
    try:
        return os.fsencode(argument).decode()
    except UnicodeError:
        pass
    try:
        argument.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{argument!a}: is no UTF-8") from None
    return argument
