"""The arithmetic of #expr and #ifexpr: operators, precedences and rounding as in MediaWiki's
ExprParser (https://www.mediawiki.org/wiki/Help:Extension:ParserFunctions##expr)."""

from __future__ import annotations

import html
import math
import operator
import re
from collections.abc import Callable

MAX_LENGTH, MAX_NESTING = 2_000, 40
TOKEN = re.compile(r"\s*(\d+\.?\d*|\.\d+|[a-z]+|<=|>=|<>|!=|[-+*/^()=<>])\s*")
CONSTANTS = {"pi": math.pi, "e": math.e}
UNARY: dict[str, tuple[int, Callable[[float], float]]] = {
    "+": (10, operator.pos),
    "-": (10, operator.neg),
    "not": (9, lambda a: float(not a)),
    "abs": (9, abs),
    "ceil": (9, math.ceil),
    "floor": (9, math.floor),
    "trunc": (9, math.trunc),
    "sqrt": (9, math.sqrt),
    "exp": (9, math.exp),
    "ln": (9, math.log),
    **{name: (9, getattr(math, name)) for name in ("sin", "cos", "tan", "asin", "acos", "atan")},
}
BINARY: dict[str, tuple[int, Callable[[float, float], float]]] = {
    "e": (10, lambda a, b: a * 10.0**b),
    "^": (8, math.pow),
    "*": (7, operator.mul),
    "/": (7, operator.truediv),
    "div": (7, operator.truediv),
    "mod": (7, lambda a, b: math.fmod(int(a), int(b))),
    "fmod": (7, math.fmod),
    "+": (6, operator.add),
    "-": (6, operator.sub),
    "round": (5, lambda a, b: rounded(a, int(b))),
    "=": (4, lambda a, b: float(a == b)),
    "<>": (4, lambda a, b: float(a != b)),
    "!=": (4, lambda a, b: float(a != b)),
    "<": (4, lambda a, b: float(a < b)),
    ">": (4, lambda a, b: float(a > b)),
    "<=": (4, lambda a, b: float(a <= b)),
    ">=": (4, lambda a, b: float(a >= b)),
    "and": (3, lambda a, b: float(bool(a) and bool(b))),
    "or": (2, lambda a, b: float(bool(a) or bool(b))),
}


def evaluate(text: str) -> float | None:
    """The value of an expression; None: it has none, or is too long."""
    text = html.unescape(text).replace("−", "-").lower()
    if len(text) > MAX_LENGTH:
        return None
    tokens: list[str] = []
    position = 0
    text = text.strip()
    while position < len(text):
        match = TOKEN.match(text, position)
        if not match:
            return None
        tokens.append(match[1])
        position = match.end()
    try:
        value, place = operand(tokens, 0, 0, 0)
        return float(value) if place == len(tokens) and math.isfinite(value) else None
    except (ArithmeticError, ValueError, IndexError, KeyError):
        return None


def operand(tokens: list[str], place: int, weakest: int, nesting: int) -> tuple[float, int]:
    """A value made by operators that bind at least so strongly, and the place after it.

    Raises:
        ArithmeticError, ValueError, IndexError, KeyError: there is none.
    """
    if nesting > MAX_NESTING:
        raise ValueError
    token, place = tokens[place], place + 1
    value: float
    if token == "(":
        value, place = operand(tokens, place, 0, nesting + 1)
        if tokens[place] != ")":
            raise ValueError
        place += 1
    elif token in UNARY:
        strength, function = UNARY[token]
        value, place = operand(tokens, place, strength, nesting + 1)
        value = function(value)
    else:
        value = CONSTANTS[token] if token.isalpha() else float(token)
    while place < len(tokens) and tokens[place] in BINARY:
        strength, combine = BINARY[tokens[place]]
        if strength <= weakest:
            break
        right, place = operand(tokens, place + 1, strength, nesting + 1)
        value = combine(value, right)
    return value, place


def rounded(value: float, digits: int) -> float:
    """Rounded as PHP does it: halves away from zero."""
    scale = 10.0 ** max(-300, min(300, digits))
    return math.copysign(math.floor(round(abs(value) * scale, 9) + 0.5) / scale, value)


def written(value: float) -> str:
    """A value with 14 digits, as PHP writes it."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    text = f"{value:.14G}"
    if "E" not in text:
        return text
    digits, _, power = text.partition("E")
    return f"{digits if '.' in digits else digits + '.0'}E{int(power):+d}"
