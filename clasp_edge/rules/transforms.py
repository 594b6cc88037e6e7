"""Transforms: a value in, a value out (docs/protocol/discovery.md 5). Each is safe on every input.

A transform keeps no state of its own: what smoothing, rate limiting and toggling have to remember lies in a `Memory`
that the caller keeps for each rule and address. Numbers are ints or floats; other kinds pass unchanged unless a
transform says otherwise. A result that is no finite number leaves the value as it was.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from clasp_edge.rules import curves
from clasp_edge.rules.expression import Expression, ExpressionError
from clasp_edge.rules.table import Table, closest, quoted
from clasp_edge.rules.values import MISSING, clamped_int, equal, finite, number, text

Memory = dict[int, float]
"""What the stateful steps of one chain remember, by the step's number."""

Transform = Callable[[Any, Memory], Any]

MAX_STEPS = 32
"""Steps in a chain, those inside conditionals included."""

MAX_DEPTH = 8
LONGEST_TABLE = 1024

_PATH_STEP = re.compile(r"\.?([A-Za-z_][\w-]*)|\[(-?\d{1,6})\]|\['([^']{1,256})'\]")


def identity(value: Any, memory: Memory) -> Any:
    """The value as it is."""
    return value


def compile_transform(raw: Any, table: Table, key: str) -> Transform:
    """The transform that a configuration asks for at `key` of `table`: a table with `type`, or a list of them, which is
    a chain. Problems are reported to the table."""
    return _Compiler(table, key).compile(raw, key, 0)


class _Compiler:
    """Numbers the steps, so that each has its own place in the memory."""

    def __init__(self, table: Table, key: str) -> None:
        self._table = table
        self._steps = 0

    def compile(self, raw: Any, key: str, depth: int) -> Transform:
        self._steps += 1
        if depth > MAX_DEPTH or self._steps > MAX_STEPS:
            self._table.wrong(key, f"has more than {MAX_STEPS} steps or is nested deeper than {MAX_DEPTH}")
            return identity
        if isinstance(raw, str):
            raw = {"type": raw}
        if isinstance(raw, list):
            return _chain([self.compile(part, f"{key}[{at}]", depth + 1) for at, part in enumerate(raw)])
        if not isinstance(raw, Mapping):
            self._table.wrong(key, f"must be a table or a list of tables, not {quoted(raw)}")
            return identity
        part = self._table.inner(key, raw)
        kind = part.text("type")
        maker = _MAKERS.get(kind)
        if maker is None:
            if part.sound:
                part.wrong("type", f"is {quoted(kind)}; {closest(str(kind), list(_MAKERS))}")
            return identity
        made = maker(part, self, depth, self._steps)
        part.finish()
        return made

    def nested(self, part: Table, key: str, depth: int) -> Transform:
        """The transform at a key of a transform."""
        value = part.value(key, None)
        return identity if value is None else _Compiler.compile(self._at(part), value, key, depth + 1)

    def _at(self, part: Table) -> _Compiler:
        inner = _Compiler(part, "")
        inner._steps = self._steps + 1
        return inner


def _chain(steps: list[Transform]) -> Transform:
    def chain(value: Any, memory: Memory) -> Any:
        for step in steps:
            value = step(value, memory)
        return value

    return chain


def _on_numbers(work: Callable[[float], Any]) -> Transform:
    """`work` on numbers; everything else, and what has no finite result, passes."""

    def transform(value: Any, memory: Memory) -> Any:
        given = number(value)
        if given is None:
            return value
        try:
            result = work(given)
        except (ArithmeticError, ValueError):
            return value
        if isinstance(result, float) and not finite(result):
            return value
        return result

    return transform


Maker = Callable[[Table, _Compiler, int, int], Transform]


def _scale(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    if part.has("scale") or part.has("factor") or part.has("offset"):
        factor = part.number("factor", part.number("scale", 1.0))
        offset = part.number("offset", 0.0)
        return _on_numbers(lambda value: float(value * factor + offset))
    from_min, from_max = part.number("from_min", 0.0), part.number("from_max", 1.0)
    to_min, to_max = part.number("to_min", 0.0), part.number("to_max", 1.0)
    clamp = part.flag("clamp", False)
    if from_min == from_max:
        part.wrong("from_max", "must differ from from_min")
        return identity
    low, high = min(to_min, to_max), max(to_min, to_max)

    def scale(value: float) -> float:
        # Both ends exactly: 255 and not 254.99999999999997.
        if value == from_max:
            return float(to_max)
        scaled = to_min + (value - from_min) / (from_max - from_min) * (to_max - to_min)
        return float(max(low, min(high, scaled)) if clamp else scaled)

    return _on_numbers(scale)


def _clamp(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    low, high = part.number("min", -math.inf), part.number("max", math.inf)
    if low > high:
        part.wrong("min", "must not be greater than max")
        return identity
    return _on_numbers(lambda value: max(low, min(high, value)))


def _invert(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    low, high = part.number("min", 0.0), part.number("max", 1.0)
    return _on_numbers(lambda value: float(high - (value - low)))


def _to_int(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    return lambda value, memory: clamped_int(value) if _numeric(value) else value


def _to_float(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    return _on_numbers(float)


def _numeric(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _lookup(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    entries = part.table("table", None) if part.has("table") else part.table("map")
    default = part.value("default", MISSING)
    if entries is not None and len(entries) > LONGEST_TABLE:
        part.wrong("table", f"has more than {LONGEST_TABLE} entries")
    held = dict(entries or {})

    def lookup(value: Any, memory: Memory) -> Any:
        found = held.get(text(value), default)
        return value if found is MISSING else found

    return lookup


def _curve(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    key = "curve_type" if part.has("curve_type") else "curve"
    curve = curve_at(part, key)
    return _on_numbers(lambda value: float(curve(max(0.0, min(1.0, float(value))))))


def curve_at(part: Table, key: str) -> curves.Curve:
    """The curve at a key: its name, or the four numbers of a bezier."""
    named = part.value(key)
    if isinstance(named, Mapping) and named.get("type") == "bezier":
        named = [named.get(name) for name in ("x1", "y1", "x2", "y2")]
    if isinstance(named, list):
        numeric = len(named) == 4 and all(number(one) is not None for one in named)
        if numeric and all(0 <= named[at] <= 1 for at in (0, 2)):
            return curves.bezier(*map(float, named))
        part.wrong(key, "must be four numbers x1, y1, x2, y2 with x1 and x2 from 0 to 1")
    elif str(named) in curves.CURVES:
        return curves.CURVES[str(named)]
    elif part.sound or named is not None:
        part.wrong(key, f"is {quoted(named)}; {closest(str(named), list(curves.CURVES))}")
    return curves.CURVES["linear"]


def _quantize(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    steps = part.whole("steps", low=1, high=1_000_000)
    return _on_numbers(lambda value: _half_away(value * max(1, steps)) / max(1, steps))


def _half_away(value: float) -> float:
    return math.floor(abs(value) + 0.5) * (1.0 if value >= 0 else -1.0)


def _dead_zone(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    width = part.number("threshold", low=0)
    return _on_numbers(lambda value: 0.0 if abs(value) < width else value)


def _smooth(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    factor = part.number("factor", low=0, high=1)

    def smooth(value: Any, memory: Memory) -> Any:
        given = number(value)
        if given is None or not finite(given):
            return value
        last = memory.get(step, float(given))
        smoothed = last + factor * (given - last)
        if not finite(smoothed):
            smoothed = given  # the two are further apart than any float
        memory[step] = smoothed
        return smoothed

    return smooth


def _rate_limit(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    most = part.number("max_delta", low=0)

    def rate_limit(value: Any, memory: Memory) -> Any:
        given = number(value)
        if given is None or not finite(given):
            return value
        last = memory.get(step, float(given))
        limited = last + max(-most, min(most, given - last))
        memory[step] = limited = limited if finite(limited) else given
        return limited

    return rate_limit


def _threshold(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    limit = part.number("value")
    mode = part.choice("mode", ("above", "below", "equal"), "above")
    inside, outside = (part.value("above", 1.0), part.value("below", 0.0))

    def threshold(value: float) -> Any:
        if mode == "equal":
            held = abs(value - limit) < 0.001
        else:
            held = value > limit if mode == "above" else value < limit
        return inside if held else outside

    return _on_numbers(threshold)


def _modulo(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    divisor = part.number("divisor")
    if divisor == 0 and part.sound:
        part.wrong("divisor", "must not be 0")
    return _on_numbers(lambda value: math.fmod(value, divisor) if divisor else value)


def _abs(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    return _on_numbers(lambda value: abs(float(value)))


def _negate(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    return _on_numbers(lambda value: -float(value))


def _power(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    exponent = part.number("exponent", low=-64, high=64)
    return _on_numbers(lambda value: math.pow(value, exponent))


def _log(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    base = part.number("base", math.e)
    if not (base > 0 and base != 1):
        part.wrong("base", "must be greater than 0 and not 1")
        return identity
    return _on_numbers(lambda value: math.log(value) / math.log(base) if value > 0 else value)


def _round(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    decimals = part.whole("decimals", part.value("precision", 0), low=0, high=15)
    factor = 10.0**decimals
    return _on_numbers(lambda value: _half_away(value * factor) / factor)


def _chained(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    steps = part.value("transforms")
    if not isinstance(steps, list):
        part.wrong("transforms", "must be a list of tables")
        return identity
    return compiler._at(part).compile(steps, "transforms", depth + 1)


def _conditional(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    holds = compile_test(part.table("condition"), part, "condition", 0)
    then, otherwise = compiler.nested(part, "if_true", depth), compiler.nested(part, "if_false", depth)
    return lambda value, memory: (then if holds(value) else otherwise)(value, memory)


def _expression(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    expression = expression_at(part, "expr", frozenset({"value", "x"}))
    if expression is None:
        return identity

    def evaluate(value: Any, memory: Memory) -> Any:
        given = number(value)
        if given is None:
            return value
        try:
            result = expression({"value": given, "x": given})
        except ExpressionError:
            return value
        if isinstance(result, int) and not isinstance(result, bool):
            return clamped_int(result)
        if isinstance(result, float) and not finite(result):
            return value
        return result if isinstance(result, bool | int | float | str) else value

    return evaluate


def expression_at(part: Table, key: str, names: frozenset[str]) -> Expression | None:
    """The expression at a key; None after a report."""
    source = part.text(key)
    if not source:
        return None
    try:
        return Expression(source, names)
    except ExpressionError as error:
        part.wrong(key, str(error))
        return None


def _json_path(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    path = part.text("path")
    names = _path_steps(path or "")
    if names is None:
        part.wrong("path", 'must be like "$.state.on" or "$[0].name": names and indexes, without wildcards')
        return identity

    def json_path(value: Any, memory: Memory) -> Any:
        for name in names:
            if isinstance(value, Mapping) and isinstance(name, str):
                value = value.get(name)
            elif isinstance(value, list | tuple) and isinstance(name, int) and -len(value) <= name < len(value):
                value = value[name]
            else:
                return None
        return value

    return json_path


def _path_steps(path: str) -> list[str | int] | None:
    """The names and indexes of a path; None for anything else."""
    steps: list[str | int] = []
    at = 1 if path.startswith("$") else 0
    while at < len(path):
        found = _PATH_STEP.match(path, at)
        if found is None:
            return None
        at = found.end()
        name, index, quoted_name = found.groups()
        steps.append(int(index) if index is not None else name or quoted_name)
    return steps


def _map_type(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    part.value("from_type", None)
    wanted = part.choice("to_type", ("int", "float", "bool", "string"))

    def map_type(value: Any, memory: Memory) -> Any:
        if wanted == "string":
            return text(value)
        given = _parsed(value)
        if given is None:
            return value
        if wanted == "bool":
            return given != 0
        return clamped_int(given) if wanted == "int" else float(given)

    return map_type


def _parsed(value: Any) -> float | int | None:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        try:
            parsed = float(value[:64])
        except ValueError:
            return {"true": 1, "on": 1, "false": 0, "off": 0}.get(value.strip().lower())
        return parsed if finite(parsed) else None
    return number(value)


_BITS: dict[str, Callable[[int, int], int]] = {
    "and": lambda value, operand: value & operand,
    "or": lambda value, operand: value | operand,
    "xor": lambda value, operand: value ^ operand,
    "not": lambda value, operand: ~value,
    "shift_left": lambda value, operand: _signed(value << operand),
    "shift_right": lambda value, operand: value >> operand,
    "get_bit": lambda value, operand: value >> operand & 1,
    "set_bit": lambda value, operand: _signed(value | 1 << operand),
    "clear_bit": lambda value, operand: _signed(value & ~(1 << operand)),
}


def _signed(value: int) -> int:
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def _bitwise(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    name = part.choice("operation", tuple(_BITS))
    shifts = name.startswith("shift") or name.endswith("_bit")
    low, high = (0, 63) if shifts else (-(2**63), 2**63 - 1)
    operand = part.whole("operand", 1 if name.startswith("shift") else 0, low=low, high=high)
    work = _BITS[name]
    return lambda value, memory: work(clamped_int(value), operand) if _numeric(value) else value


def _toggle(part: Table, compiler: _Compiler, depth: int, step: int) -> Transform:
    return lambda value, memory: not value if isinstance(value, bool) else 0 if number(value) else 1


_MAKERS: dict[str, Maker] = {
    "identity": lambda part, compiler, depth, step: identity,
    "expression": _expression, "scale": _scale, "clamp": _clamp, "invert": _invert, "to_int": _to_int,
    "to_float": _to_float, "lookup": _lookup, "map": _lookup, "curve": _curve, "quantize": _quantize,
    "dead_zone": _dead_zone, "smooth": _smooth, "rate_limit": _rate_limit, "threshold": _threshold, "modulo": _modulo,
    "abs": _abs, "negate": _negate, "power": _power, "log": _log, "round": _round, "chain": _chained,
    "conditional": _conditional, "json_path": _json_path, "map_type": _map_type, "bitwise": _bitwise,
    "toggle": _toggle,
}  # fmt: skip


Test = Callable[[Any], bool]


def compile_test(raw: Any, table: Table, key: str, depth: int) -> Test:
    """A condition on the value alone, as `conditional` has it. Values that are no numbers fail it."""
    if not isinstance(raw, Mapping) or depth > MAX_DEPTH:
        table.wrong(key, "must be a table, nested at most 8 deep")
        return lambda value: False
    part = table.inner(key, raw)
    kinds = ("greater_than", "less_than", "equals", "in_range", "expression", "and", "or", "not")
    kind = part.choice("type", kinds)
    test = _test(part, kind, depth)
    part.finish()
    return test


def _test(part: Table, kind: str, depth: int) -> Test:
    if kind in ("and", "or"):
        rows = part.value("conditions")
        if not isinstance(rows, list) or not rows:
            part.wrong("conditions", "must be a list of tables")
            return lambda value: False
        tests = [compile_test(row, part, f"conditions[{at}]", depth + 1) for at, row in enumerate(rows)]
        join = all if kind == "and" else any
        return lambda value: join(test(value) for test in tests)
    if kind == "not":
        inner = compile_test(part.value("condition"), part, "condition", depth + 1)
        return lambda value: not inner(value)
    if kind == "expression":
        expression = expression_at(part, "expr", frozenset({"value", "x"}))
        return lambda value: expression is not None and _true(expression, value)
    if kind == "in_range":
        low, high = part.number("min"), part.number("max")
        return lambda value: (given := number(value)) is not None and low <= given <= high
    limit = part.number("value")
    if kind == "equals":
        tolerance = part.number("tolerance", 0.001, low=0)
        return lambda value: (
            (given := number(value)) is not None and (abs(given - limit) < tolerance or equal(given, limit))
        )
    if kind == "greater_than":
        return lambda value: (given := number(value)) is not None and given > limit
    return lambda value: (given := number(value)) is not None and given < limit


def _true(expression: Expression, value: Any) -> bool:
    given = number(value)
    if given is None:
        return False
    try:
        return expression({"value": given, "x": given}) is True
    except ExpressionError:
        return False
