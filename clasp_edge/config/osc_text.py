"""OSC messages as the configuration has them: an address and, behind it, arguments with spaces between them.

`/xremote`, `/ch/01/mix/fader 0.5`, `/node "ch/01 config"`: a whole number, a number with a fraction, true, false, or
text, which needs quotes where it has spaces or would be read as something else.
"""

from __future__ import annotations

import shlex


def parse_osc_message(text: str) -> tuple[str, list[int | float | bool | str]]:
    """Address and arguments. Raises ValueError with a sentence."""
    try:
        words = shlex.split(text, posix=False)
    except ValueError as error:
        raise ValueError(f"{error}".lower()) from None
    if not words or not words[0].startswith("/"):
        raise ValueError('must be an OSC message such as "/xremote" or "/ch/01/mix/fader 0.5"')
    return words[0], [_argument(word) for word in words[1:]]


def osc_message_fault(text: str) -> str | None:
    """Why this is no message, None if it is one."""
    try:
        parse_osc_message(text)
    except ValueError as error:
        return str(error)
    return None


def _argument(word: str) -> int | float | bool | str:
    if word[:1] in ('"', "'"):
        return word[1:-1]
    if word in ("true", "false"):
        return word == "true"
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word
