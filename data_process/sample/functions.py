"""The tools of the sample: a calculator and a calendar.

The chat runs them: --tools training_data/tools.json --tool_file data_process/sample/functions.py. A
file of your own needs the same, functions of the tools' names, which take the arguments of a call
and return its result.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from datetime import date as Date
from fractions import Fraction

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
LONGEST = 200
"""Characters of an expression."""


def calculate(expression: str) -> str:
    """Works out an expression of numbers, + - * / and brackets; a result that is no whole number
    has 12 digits.

    Raises:
        ValueError, SyntaxError, ArithmeticError: it is something else, or has no result.
    """
    if len(expression) > LONGEST:
        raise ValueError(f"an expression may have {LONGEST} characters")
    result = value_of(ast.parse(expression.strip(), mode="eval").body)
    return str(result) if result.denominator == 1 else f"{float(result):.12g}"


def value_of(node: ast.expr) -> Fraction:
    """The value of a part of an expression, exactly: 0.1 is a tenth."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -value_of(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](value_of(node.left), value_of(node.right))
    raise ValueError("an expression has numbers, + - * / and brackets")


def weekday(date: str) -> str:
    """The day of the week of a date such as 2026-11-30; ValueError when there is none such."""
    return WEEKDAYS[Date.fromisoformat(date).weekday()]


def days_between(start: str, end: str) -> str:
    """How many days `end` comes after `start`; ValueError when there is no such date."""
    return str((Date.fromisoformat(end) - Date.fromisoformat(start)).days)
