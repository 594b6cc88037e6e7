"""Expressions such as `value * 2 + x`: a small language without loops, names of our own and bounded work.

simpleeval walks the syntax tree; it knows no attributes here, no comprehensions and no assignments, and bounds powers
and texts. It is loaded with the first expression.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

LONGEST_EXPRESSION = 500
"""Characters: what takes longer to read is easier to say as several rules."""

MAX_NODES = 200
MAX_DEPTH = 25

LONGEST_NUMBER = 100
"""Characters of a text that is read as a number."""


class ExpressionError(ValueError):
    """The text is no expression, or cannot be evaluated; says why."""


def _rounded(value: float, digits: int = 0) -> float:
    return round(value, max(-15, min(15, int(digits))))


def _modulo(left: Any, right: Any) -> Any:
    # Of texts it is a format: "%999999999d", which anybody may write, takes a gigabyte.
    if not isinstance(left, int | float) or not isinstance(right, int | float):
        raise TypeError("% is for numbers")
    return left % right


def _whole(*given: Any, **named: Any) -> int:
    # To base 16 there is no limit of Python's own: a product of two numbers of a megabyte takes seconds.
    if given and isinstance(given[0], str | bytes | bytearray) and len(given[0]) > LONGEST_NUMBER:
        raise ValueError(f"a number has at most {LONGEST_NUMBER} characters")
    return int(*given, **named)


_FUNCTIONS: dict[str, Any] = {
    "abs": abs, "min": min, "max": max, "round": _rounded, "int": _whole, "float": float,
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "sqrt": math.sqrt, "exp": math.exp, "log": math.log,
    "floor": math.floor, "ceil": math.ceil, "clamp": lambda value, low, high: max(low, min(high, value)),
}  # fmt: skip


@lru_cache(maxsize=1)
def _evaluator() -> Any:
    """One for all expressions: it takes 7 KB and refers to itself, so that of thousands nothing would come back when
    other rules are loaded. Expressions are read in any thread and evaluated in one."""
    import ast

    import simpleeval

    operators = {**simpleeval.DEFAULT_OPERATORS, ast.Mod: _modulo}
    return simpleeval.SimpleEval(operators=operators, functions=_FUNCTIONS)


class Expression:
    """One compiled expression. `names` are the variables it may use."""

    def __init__(self, source: str, names: frozenset[str]) -> None:
        """Raises ExpressionError."""
        import ast

        try:
            import simpleeval
        except ImportError:
            raise ExpressionError("expressions need the library simpleeval: pip install 'clasp-edge[rules]'") from None
        if len(source) > LONGEST_EXPRESSION:
            raise ExpressionError(f"an expression has at most {LONGEST_EXPRESSION} characters")
        self.source = source
        self._evaluator = _evaluator()
        try:
            self._tree = self._evaluator.parse(source)
        except (SyntaxError, simpleeval.InvalidExpression, ValueError, RecursionError, MemoryError) as error:
            raise ExpressionError(f'"{source}" is no expression: {_reason(error)}') from None
        nodes = list(ast.walk(self._tree))
        if len(nodes) > MAX_NODES or _depth(self._tree) > MAX_DEPTH:
            raise ExpressionError(f'"{source[:40]}..." is too long; say it as several rules')
        for node in nodes:
            if isinstance(node, ast.Name) and node.id not in names | _FUNCTIONS.keys() | {"PI", "E"}:
                known = ", ".join(sorted(names))
                raise ExpressionError(f'"{node.id}" is no name here; there are {known}, PI, E and functions')
            if isinstance(node, ast.Attribute | ast.ListComp | ast.Starred | ast.JoinedStr | ast.Pow):
                raise ExpressionError(f'"{source}" uses what expressions do not have here')

    def __call__(self, variables: Mapping[str, Any]) -> Any:
        """The value. Raises ExpressionError."""
        self._evaluator.names = {"PI": math.pi, "E": math.e, "true": True, "false": False, **variables}
        try:
            return self._evaluator.eval(self.source, previously_parsed=self._tree)
        except Exception as error:
            # Whatever a value does to it (there is no such key, no such place in a list) ends this one evaluation.
            raise ExpressionError(f"{self.source}: {_reason(error)}") from None


def _reason(error: BaseException) -> str:
    return str(error).partition("\n")[0][:120] or type(error).__name__


def _depth(node: Any) -> int:
    import ast

    depth, level = 0, [node]
    while level and depth <= MAX_DEPTH:
        depth += 1
        level = [child for parent in level for child in ast.iter_child_nodes(parent)]
    return depth
