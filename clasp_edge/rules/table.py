"""Reads a rule's tables key by key: types, ranges, unknown keys with the nearest valid one, all problems at once."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from typing import Any

from clasp_edge.wire import WireError, encode_value

Report = Callable[[str, str], None]
"""Takes the dotted path of a key (`rule[3].trigger.pattern`) and a sentence."""

REQUIRED: Any = object()
LONGEST_QUOTE = 60
LARGEST = 2**63
"""Of whole numbers: what CLASP's integers hold."""


def quoted(value: object) -> str:
    """A value as a sentence shows it."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST:
        return "a number of so many digits"
    shown = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return shown if len(shown) <= LONGEST_QUOTE else f"{shown[: LONGEST_QUOTE - 3]}..."


def closest(name: str, known: Sequence[str]) -> str:
    """The hint at what was probably meant, else all there are."""
    near = difflib.get_close_matches(name, known, n=1)
    return f'the closest valid one is "{near[0]}"' if near else f"the valid ones are {', '.join(known)}"


class Table:
    """One table. Getters report what does not fit and return the default; `finish` reports keys nobody asked for.

    Of thousands of rules each key is asked for: what is not there is looked for once, and without a call.
    """

    def __init__(self, raw: Mapping[str, Any], path: str, report: Report) -> None:
        self.raw = raw
        self.path = path
        self.sound = True
        self._report = report
        self._asked: list[str] = []
        self._groups: tuple[Collection[str], ...] = ()

    def wrong(self, key: str, sentence: str) -> None:
        """Report a problem at a key of this table ("" for the table itself)."""
        self.sound = False
        self._report(f"{self.path}.{key}" if key else self.path, sentence)

    def has(self, key: str) -> bool:
        """Whether the key is there; asking makes it known."""
        self._asked.append(key)
        return key in self.raw

    def among(self, words: Collection[str]) -> list[str]:
        """The keys of the table that are among these words, all of which are known here (best: a view of keys)."""
        self._groups += (words,)
        # Of the many that are asked for, a table has one or none.
        return [] if self.raw.keys().isdisjoint(words) else [key for key in self.raw if key in words]

    def value(self, key: str, default: Any = REQUIRED) -> Any:
        """Whatever is there."""
        self._asked.append(key)
        if key in self.raw:
            return self.raw[key]
        if default is REQUIRED:
            self.wrong(key, "missing")
            return None
        return default

    def constant(self, key: str, default: Any = REQUIRED) -> Any:
        """A value that a param may have."""
        value = self.value(key, default)
        if key in self.raw:
            self.check_constant(key, value)
        return value

    def check_constant(self, key: str, value: Any) -> None:
        """Report what can be the value of no param: a date, a whole number of more than 64 bits."""
        kind = type(value)
        if kind is bool or kind is float or (kind is str and value.isascii()):
            return
        try:
            encode_value(value)
        except WireError as error:
            self.wrong(key, f"is no value that CLASP knows: {error}")

    def text(self, key: str, default: Any = REQUIRED, *, longest: int = 1024, empty: bool = False) -> Any:
        """Text of 1 (or 0) to `longest` characters."""
        if default is not REQUIRED and key not in self.raw:
            self._asked.append(key)
            return default
        value = self.value(key, default)
        if key in self.raw and not (isinstance(value, str) and (value or empty) and len(value) <= longest):
            self.wrong(key, f"must be text of {0 if empty else 1} to {longest} characters, not {quoted(value)}")
            return "" if default is REQUIRED else default
        return "" if value is None and default is REQUIRED else value  # that it is missing has been said

    def flag(self, key: str, default: Any = REQUIRED) -> Any:
        """True or false."""
        if default is not REQUIRED and key not in self.raw:
            self._asked.append(key)
            return default
        value = self.value(key, default)
        if key in self.raw and not isinstance(value, bool):
            self.wrong(key, f"must be true or false, not {quoted(value)}")
            return default
        return value

    def number(self, key: str, default: Any = REQUIRED, low: float = -math.inf, high: float = math.inf) -> Any:
        """A finite number within bounds."""
        if default is not REQUIRED and key not in self.raw:
            self._asked.append(key)
            return default
        value = self.value(key, default)
        if key in self.raw and not _is_number(value, low, high):
            bounds = "" if math.isinf(low) and math.isinf(high) else f" from {low:.15g} to {high:.15g}"
            self.wrong(key, f"must be a number{bounds}, not {quoted(value)}")
            return 0 if default is REQUIRED else default
        return 0 if value is None and default is REQUIRED else value  # that it is missing has been said

    def whole(self, key: str, default: Any = REQUIRED, low: int = 0, high: int = 2**31) -> Any:
        """A whole number within bounds."""
        value = self.value(key, default)
        if key in self.raw and not (isinstance(value, int) and _is_number(value, low, high)):
            self.wrong(key, f"must be a whole number from {low} to {high}, not {quoted(value)}")
            return 0 if default is REQUIRED else default
        return 0 if value is None and default is REQUIRED else value

    def choice(self, key: str, words: Sequence[str], default: Any = REQUIRED) -> Any:
        """One of some words."""
        if default is not REQUIRED and key not in self.raw:
            self._asked.append(key)
            return default
        value = self.value(key, default)
        if key in self.raw and value not in words:
            self.wrong(key, f"is {quoted(value)}; {closest(str(value), list(words))}")
            return words[0] if default is REQUIRED else default
        return words[0] if value is None and default is REQUIRED else value

    def table(self, key: str, default: Any = REQUIRED) -> Any:
        """A table within."""
        value = self.value(key, default)
        if key in self.raw and not isinstance(value, Mapping):
            self.wrong(key, f"must be a table, not {quoted(value)}")
            return {} if default is REQUIRED else default
        return value

    def texts(self, key: str, default: Any = REQUIRED) -> Any:
        """A list of texts; one text stands for a list of one."""
        value = self.value(key, default)
        if key not in self.raw:
            return () if default is REQUIRED else default
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list) or not value or not all(map(_is_text, value)):
            self.wrong(key, f"must be text or a list of texts, not {quoted(value)}")
            return ()
        return tuple(value)

    def numbers(self, key: str, count: int) -> Any:
        """A list of `count` finite numbers, or None after a report."""
        value = self.value(key)
        if not isinstance(value, list) or len(value) != count or not all(map(_is_number, value)):
            self.wrong(key, f"must be a list of {count} numbers, not {quoted(value)}")
            return None
        return tuple(value)

    def tables(self, key: str, default: Any = REQUIRED) -> list[Table]:
        """The tables of a list, or the single one that stands for it."""
        value = self.value(key, default)
        found: list[Table] = []
        if key not in self.raw:
            return found
        listed = isinstance(value, list)
        for index, row in enumerate(value if listed else (value,)):
            # A parsed file has dicts: the check against the abstract class is for all else, and slow.
            if type(row) is not dict and not isinstance(row, Mapping):
                self.wrong(key, f"must be a table or a list of tables, not {quoted(value)}")
                break
            place = f"{self.path}.{key}[{index}]" if listed else f"{self.path}.{key}"
            found.append(Table(row, place, self._watched))
        return found

    def inner(self, key: str, raw: Mapping[str, Any]) -> Table:
        """A table found at `key` by other means."""
        return Table(raw, f"{self.path}.{key}" if key else self.path, self._watched)

    def finish(self) -> bool:
        """Report unknown keys. Whether everything asked of this table was there and right."""
        asked = self._asked
        for key in self.raw:
            if key not in asked and not self._is_among(key):
                self._unknown(str(key))
        return self.sound

    def _is_among(self, key: str) -> bool:
        return key in chain(*self._groups)

    def _unknown(self, key: str) -> None:
        known = dict.fromkeys(chain(self._asked, *self._groups))
        self.wrong(key, f"unknown key; {closest(key, list(known))}")

    def _watched(self, key: str, sentence: str) -> None:
        self.sound = False
        self._report(key, sentence)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object, low: float = -math.inf, high: float = math.inf) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    # Whole numbers of any length are finite, and math.isfinite() fails on those that no float holds.
    return low <= value <= high and (abs(value) <= LARGEST if isinstance(value, int) else math.isfinite(value))
