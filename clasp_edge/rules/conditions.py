"""Conditions: comparisons, ranges, patterns, ages, times of day, expressions, and all/any/not of them.

A condition is compiled once into a function that says why it does not hold. What is missing fails every comparison,
except `exists = false`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import repeat
from typing import Any

from clasp_edge.rules.expression import ExpressionError
from clasp_edge.rules.model import Condition, Event, Lookup
from clasp_edge.rules.patterns import literal_at, pattern_at
from clasp_edge.rules.table import Table
from clasp_edge.rules.templates import NAMES, Template
from clasp_edge.rules.transforms import expression_at
from clasp_edge.rules.values import MISSING, equal, order, text
from clasp_edge.wire.pattern import Pattern

MAX_DEPTH = 8
MAX_CONDITIONS = 64

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_S = 86_400

Test = Callable[[Any], bool]

_ORDERED: dict[str, Callable[[int], bool]] = {
    "gt": lambda sign: sign > 0,
    "gte": lambda sign: sign >= 0,
    "lt": lambda sign: sign < 0,
    "lte": lambda sign: sign <= 0,
}
_WORDS = {"==": "eq", "!=": "ne", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
OPS = ("eq", "ne", *_ORDERED)
_COMPARISONS = dict.fromkeys((*OPS, "between", "in", "op")).keys()
_KINDS = dict.fromkeys(("all", "any", "not", "between_times", "days", "expression", "pattern")).keys()
_AGES = ("older_s", "newer_s")
_LEAF_KEYS = dict.fromkeys(("address", "previous", "exists", *_AGES)).keys()


class Compiler:
    """Compiles the conditions of one rule; gathers what they look at in `watched`, and what addresses with places
    may come to in `tracked`, or in `aged` where their age is asked."""

    def __init__(self, captures: int, deep: Collection[int] = ()) -> None:
        """`deep`: the captures that may be several segments."""
        self._captures = captures
        self._deep = deep
        self._count = 0
        self.watched: list[Pattern] = []
        self.tracked: list[Pattern] = []
        self.aged: list[Pattern] = []

    def compile(self, part: Table, depth: int = 0) -> Condition:
        """The condition of a table. Problems are reported to it."""
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_CONDITIONS:
            part.wrong("", f"has more than {MAX_CONDITIONS} conditions or nests them deeper than {MAX_DEPTH}")
            return _never
        made = self._compile(part, depth)
        part.finish()
        return made

    def _compile(self, part: Table, depth: int) -> Condition:
        given = part.among(_KINDS)
        if not given:
            return self._leaf(part)
        for word in ("all", "any"):
            if word in given and "pattern" not in given:
                inner = [self.compile(row, depth + 1) for row in part.tables(word)]
                if not inner and part.sound:
                    part.wrong(word, "must be at least one condition")
                return _joined(inner, every=word == "all")
        if "not" in given:
            return _not(self.compile(part.inner("not", part.table("not")), depth + 1))
        if "between_times" in given:
            return _between_times(part)
        if "days" in given:
            wanted = days(part, "days")
            return lambda event, lookup: (
                "the clock is not set" if (now := lookup.local_time()) is None
                else None if now[1] in wanted else f"it is {DAYS[now[1]]}"
            )  # fmt: skip
        if "expression" in given:
            return self._expression(part)
        if "pattern" in given:
            return self._pattern(part)
        return self._leaf(part)

    def _leaf(self, part: Table) -> Condition:
        given = part.among(_LEAF_KEYS)
        address = part.text("address", None) if "address" in given else None
        previous = "previous" in given and part.flag("previous", False)
        ages = [(key == "older_s", part.number(key, low=0)) for key in given if key in _AGES]
        exists = part.flag("exists", None) if "exists" in given else None
        test, said = _test(part) if exists is None and not ages else _optional_test(part)
        if address is None:
            if ages or exists is not None:
                part.wrong("address", "missing")
            which = "the previous value" if previous else "the value"

            def of_trigger(event: Event, lookup: Lookup) -> str | None:
                value = event.previous if previous else event.value
                return None if test(value) else f"{which} is {_shown(value)}, not {said}"

            return of_trigger
        template = self._address(part, "address", address, aged=bool(ages))

        def of_param(event: Event, lookup: Lookup) -> str | None:
            named = template.fill(event.captures, event.names())
            value = event.value if named == event.address and event.value is not MISSING else lookup.value(named)
            if exists is not None:
                there = value is not MISSING
                return None if there is exists else f"{named} {'exists' if there else 'does not exist'}"
            if not test(value):
                return f"{named} is {_shown(value)}, not {said}"
            for older, limit_s in ages:
                age_s = lookup.age_s(named)
                if age_s is None or (age_s < limit_s if older else age_s > limit_s):
                    return f"{named} is {'unknown' if age_s is None else f'{age_s:.1f} s'} old"
            return None

        return of_param

    def _address(self, part: Table, key: str, address: str, *, aged: bool) -> Template:
        if not address.startswith("/"):
            part.wrong(key, f'must begin with "/", not "{address}"')
            return Template("/", 0)
        try:
            template = Template(address, self._captures, address=True)
        except ValueError as error:
            part.wrong(key, str(error))
            return Template("/", 0)
        if template.fixed:
            if (pattern := literal_at(part, key, address)) is not None:
                self.watched.append(pattern)
        elif "*" in address:
            part.wrong(key, "must be one address, without wildcards")
        else:
            # Which address it will be is known with the trigger only.
            reach = Pattern(template.reach(self._deep).encode())
            (self.aged if aged else self.tracked).append(reach)
        return template

    def _pattern(self, part: Table) -> Condition:
        text = part.text("pattern")
        pattern, _ = pattern_at(part, "pattern", text) if text else (None, None)
        if pattern is not None:
            self.watched.append(pattern)
        every, some = part.flag("all", False), part.flag("any", False)
        at_least = part.whole("at_least", None, low=1, high=10_000)
        if sum((every, some, at_least is not None)) != 1:
            part.wrong("", 'a condition on a pattern needs one of "any = true", "all = true", "at_least = N"')
        test, said = _test(part)

        # Not by how it is said, which is cut short: 1 is not true, and a long text is not another one.
        key = repr([(name, part.raw[name]) for name in (*_COMPARISONS, "value") if name in part.raw])

        def of_pattern(event: Event, lookup: Lookup) -> str | None:
            if pattern is None:
                return "the pattern is wrong"
            held, there = lookup.tally(pattern, key, test)
            if every:
                return None if there and held == there else f"{held} of {there} are {said}"
            return None if held >= (at_least or 1) else f"{held} of {there} are {said}"

        return of_pattern

    def _expression(self, part: Table) -> Condition:
        expression = expression_at(part, "expression", NAMES)

        def evaluate(event: Event, lookup: Lookup) -> str | None:
            if expression is None:
                return "the expression is wrong"
            try:
                held = expression({name: None if value is MISSING else value for name, value in event.names().items()})
            except ExpressionError as error:
                return str(error)
            return None if held is True else f"{expression.source} is {_shown(held)}"

        return evaluate


def _never(event: Event, lookup: Lookup) -> str | None:
    return "not a condition"


def _joined(parts: list[Condition], *, every: bool) -> Condition:
    def joined(event: Event, lookup: Lookup) -> str | None:
        reasons = []
        for part in parts:
            reason = part(event, lookup)
            if every and reason is not None:
                return reason
            if not every and reason is None:
                return None
            reasons.append(reason or "")
        return None if every else "none of: " + "; ".join(reasons)

    return joined


def _not(inner: Condition) -> Condition:
    return lambda event, lookup: None if inner(event, lookup) is not None else "what must not hold does"


def _shown(value: Any) -> str:
    return "missing" if value is MISSING else text(value) if value is not None else "null"


def _optional_test(part: Table) -> tuple[Test, str]:
    if not _COMPARISONS.isdisjoint(part.raw):
        return _test(part)
    return lambda value: value is not MISSING, "there"


def _test(part: Table) -> tuple[Test, str]:
    """The comparison of a table (`eq = 1`, `between = [0, 1]`, or `op = "eq"` with `value`), and how it is said."""
    given = part.among(_COMPARISONS)
    if len(given) != 1:
        part.wrong("", f"needs one comparison: {', '.join((*OPS, 'between', 'in'))}")
        return lambda value: False, ""
    [key] = given
    if key == "between":
        ends = part.numbers("between", 2)
        if ends is None:
            return lambda value: False, ""
        low, high = ends
        if low > high:
            part.wrong("between", "the first number must not be greater than the second")
        return lambda value: _ordered(value, low, "gte") and _ordered(value, high, "lte"), f"from {low} to {high}"
    if key == "in":
        wanted = part.value("in")
        if not isinstance(wanted, list) or not wanted:
            part.wrong("in", "must be a list of values")
            return lambda value: False, ""
        for one in wanted:
            part.check_constant("in", one)
        return lambda value: any(map(equal, repeat(value), wanted)), f"one of {wanted}"
    op = key
    if key == "op":
        word = str(part.value("op"))
        op = _WORDS.get(word, word.lower())
        if op not in OPS:
            part.wrong("op", f'is "{word}"; there are {", ".join(OPS)}')
            op = "eq"
    limit = part.constant("value" if key == "op" else key)
    return comparison(op, limit), f"{op} {text(limit)}"


def comparison(op: str, limit: Any) -> Test:
    """The test `value op limit`."""
    if op == "eq":
        return lambda value: value is not MISSING and equal(value, limit)
    if op == "ne":
        return lambda value: value is not MISSING and not equal(value, limit)
    return lambda value: _ordered(value, limit, op)


def _ordered(value: Any, limit: Any, op: str) -> bool:
    if value is MISSING:
        return False
    sign = order(value, limit)
    return sign is not None and _ORDERED[op](sign)


def time_of_day(part: Table, key: str, value: object) -> int:
    """Seconds after midnight of "HH:MM" or "HH:MM:SS"; 0 after a report."""
    fields = value.split(":") if isinstance(value, str) else []
    if len(fields) in (2, 3) and {len(field) for field in fields} == {2} and "".join(fields).isdecimal():
        hours, minutes, seconds = (*map(int, fields), 0)[:3]
        if hours < 24 and minutes < 60 and seconds < 60:
            return hours * 3600 + minutes * 60 + seconds
    part.wrong(key, 'must be a time such as "18:30" or "06:00:15"')
    return 0


def days(part: Table, key: str) -> frozenset[int]:
    """The days of the week of a list such as ["mon", "fri"]; all of them where the key is not there."""
    given = part.texts(key, DAYS)
    for one in given:
        if one not in DAYS:
            part.wrong(key, f'"{one}" is no day; there are {", ".join(DAYS)}')
    return frozenset([DAYS.index(one) for one in given if one in DAYS])


def _between_times(part: Table) -> Condition:
    given = part.value("between_times")
    if not isinstance(given, list) or len(given) != 2:
        part.wrong("between_times", 'must be two times such as ["22:00", "06:00"]')
        return _never
    begins, ends = [time_of_day(part, "between_times", one) for one in given]

    def between(event: Event, lookup: Lookup) -> str | None:
        now = lookup.local_time()
        if now is None:
            return "the clock is not set"
        inside = begins <= now[0] < ends if begins <= ends else now[0] >= begins or now[0] < ends
        return None if inside else f"it is {int(now[0] // 3600):02}:{int(now[0] % 3600 // 60):02}"

    return between
