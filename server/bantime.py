# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a ban lasts that grows with each further one.  Arithmetic on numbers; evaluates no code.

A formula may use `ban.Time` (seconds), `ban.Count` (earlier bans), `banFactor`, numbers, the usual
operators, comparisons, `a if b else c`, and the functions of Python's `math` that take numbers.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

_DOUBLE = "ban.Time * (1 << (ban.Count if ban.Count < 20 else 20)) * banFactor"
_LARGEST_SHIFT = 64
_LONGEST = 10 * 366 * 86400.0  # what a formula may give at most; more than that means "for long"

Number = float
Compiled = Callable[[Mapping[str, Number]], Number]


def _power(base: Number, exponent: Number) -> Number:
    return math.pow(base, exponent)  # raises OverflowError where ** on int would fill the memory


def _shift(number: Number, by: Number) -> Number:
    return int(number) << min(int(by), _LARGEST_SHIFT)


_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.LShift: _shift,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "int": int,
    "float": float,
    "min": min,
    "max": max,
    "abs": abs,
    "round": round,
    **{f"math.{name}": getattr(math, name) for name in ("exp", "log", "log2", "log10", "sqrt", "floor", "ceil")},
    "math.pow": _power,
}  # fmt: skip
_VALUES = ("ban.Time", "ban.Count", "banFactor")


def formula(text: str) -> Compiled:
    """What computes `text`; ValueError where it is no formula."""
    try:
        compiled = _compile(ast.parse(text.strip(), mode="eval").body)
        if not any(_works(compiled, count) for count in (0, 1)):
            raise ValueError("is not a formula: it gives no number")
    except (SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"is not a formula: {error}") from None
    return compiled


def _works(compiled: Compiled, count: int) -> bool:
    try:
        compiled({"ban.Time": 600, "ban.Count": count, "banFactor": 1})
    except (ArithmeticError, ValueError):
        return False
    return True


def _compile(node: ast.expr) -> Compiled:
    match node:
        case ast.Constant(value=int() | float() as number):
            return lambda values: number
        case ast.Name() | ast.Attribute():
            name = ast.unparse(node)
            if name not in _VALUES:
                raise ValueError(f"is not a formula: it may use {', '.join(_VALUES)}, not {name}")
            return lambda values: values[name]
        case ast.BinOp(left, op, right) if type(op) in _OPERATORS:
            return _apply(_OPERATORS[type(op)], [left, right])
        case ast.UnaryOp(op, operand) if type(op) in _OPERATORS:
            return _apply(_OPERATORS[type(op)], [operand])
        case ast.Compare(left, [op], [right]) if type(op) in _OPERATORS:
            return _apply(_OPERATORS[type(op)], [left, right])
        case ast.IfExp(test, body, orelse):
            if_true, if_false, condition = _compile(body), _compile(orelse), _compile(test)
            return lambda values: if_true(values) if condition(values) else if_false(values)
        case ast.Call(function, args, []) if ast.unparse(function) in _FUNCTIONS:
            return _apply(_FUNCTIONS[ast.unparse(function)], args)
    raise ValueError(f"is not a formula: {ast.unparse(node)!r} is no arithmetic")


def _apply(function: Callable[..., Any], nodes: list[ast.expr]) -> Compiled:
    parts = [_compile(node) for node in nodes]

    def compute(values: Mapping[str, Number]) -> Number:
        result: Number = function(*(part(values) for part in parts))
        return result

    return compute


def factor_of(text: str) -> float:
    """The number that `bantime.factor` gives; ValueError where it is none."""
    return float(formula(text)({"ban.Time": 0, "ban.Count": 0, "banFactor": 1}))


def multipliers_of(text: str) -> tuple[float, ...]:
    """The numbers that `bantime.multipliers` lists; ValueError where they are none."""
    try:
        numbers = tuple(float(word) for word in text.split())
    except ValueError:
        numbers = ()
    if not numbers:
        raise ValueError("is no list of numbers such as 1 2 4 8")
    return numbers


def length_of(seconds: float, earlier: int, extra: Mapping[str, Any], chance: float) -> float:
    """How long a ban lasts, in seconds, that `seconds` would take if it were the first.

    `earlier` is how many bans the host has had, `extra` the jail's `bantime.*`, `chance` a number
    from 0 to 1 that decides on the random part.
    """
    if not extra.get("increment") or not math.isfinite(seconds):
        return seconds
    length = seconds
    if earlier > 0:
        factor = factor_of(extra["factor"]) if extra.get("factor") else 1.0
        if extra.get("multipliers"):
            numbers = multipliers_of(extra["multipliers"])
            length = seconds * numbers[min(earlier, len(numbers) - 1)] * factor
        else:
            compute = formula(extra.get("formula") or _DOUBLE)
            values = {"ban.Time": seconds, "ban.Count": earlier, "banFactor": factor}
            try:
                length = float(compute(values))
            except (ArithmeticError, ValueError):
                length = _LONGEST
    if not length > 0:
        length = seconds
    if extra.get("maxtime") is not None:
        length = min(length, float(extra["maxtime"]))
    if extra.get("rndtime"):
        length += chance * float(extra["rndtime"])
    return min(length, _LONGEST)
