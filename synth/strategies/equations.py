"""The equations that an answer writes out, such as 3 * 6 = 18, and whether they hold."""

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction

EQUATION = re.compile(r"(?:[\d.,$%()]+\s*[-+*/x\u00d7\u00f7]\s*)+[\d.,$%()]+\s*=\s*\$?\d[\d.,]*")
OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def equations(text: str) -> tuple[str, ...]:
    """The equations of a text, in order, without spaces, dollars and commas, and with * and / alone."""
    plain = (re.sub(r"[\s,$]", "", found).rstrip(".") for found in EQUATION.findall(text))
    return tuple(re.sub(r"[x\u00d7]", "*", each).replace("\u00f7", "/") for each in plain)


def holds(equation: str) -> bool:
    """Whether one of `equations` is right, rounded as its result is; what can't be read holds."""
    left, _, right = equation.partition("=")
    try:
        exact, said = _value(ast.parse(left, mode="eval").body), Fraction(right)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError):
        return True
    decimals = len(right.partition(".")[2])
    return abs(exact - said) <= Fraction(1, 2 * 10**decimals) if decimals else exact == said


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return Fraction(str(node.value))
    raise ValueError("no arithmetic")
