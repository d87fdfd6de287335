"""Arithmetic as people type it, without `eval`."""

import ast
import math
import operator
from collections.abc import Callable

from tasks.shared import registry

#: An expression's length, and the size of its powers: enough for any sum by hand, too little to fill memory or time.
MAX_CHARACTERS = 500
_MAX_POWER_BITS = 4_096

_TYPED = str.maketrans({"×": "*", "÷": "/", "−": "-", "（": "(", "）": ")", "，": ",", "^": "^"})

_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "abs": abs,
    "sqrt": math.sqrt,
    "round": round,
    "floor": math.floor,
    "ceil": math.ceil,
    "log": math.log,
    "log10": math.log10,
    "exp": math.exp,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
}
_CONSTANTS = {"pi": math.pi, "e": math.e}


@registry.function(
    name="numbers.evaluate",
    tags={"numbers", "arithmetic", "calculator"},
    examples=(
        "calculate 3 * (4 + 5)",
        "what is 17 percent of 2400",
        "evaluate the expression sqrt(2) + 1",
        "计算 128 乘以 46",
        "12加30等于几",
    ),
)
def evaluate(expression: str) -> float:
    """Calculate an arithmetic expression: + - * / // % ** and brackets, sqrt, log, sin and the like, pi and e.

    Args:
        expression: for example "(3 + 4) * sqrt(2)", at most 500 characters; × ÷ and ^ are understood too.

    Raises:
        ValueError: if it is no arithmetic, divides by zero, or its result is too large or no real number.
    """
    if len(expression) > MAX_CHARACTERS:
        msg = f"an expression may have {MAX_CHARACTERS} characters, not {len(expression):,}"
        raise ValueError(msg)
    typed = expression.translate(_TYPED).replace("^", "**").strip().rstrip("=?？ ")
    try:
        result = float(_value(ast.parse(typed, mode="eval").body))
    except (SyntaxError, RecursionError, MemoryError):
        msg = f"{expression!r} is not an arithmetic expression"
        raise ValueError(msg) from None
    except ZeroDivisionError:
        msg = f"{expression!r} divides by zero"
        raise ValueError(msg) from None
    except OverflowError:
        msg = f"the result of {expression!r} is too large"
        raise ValueError(msg) from None
    if not math.isfinite(result):
        msg = f"the result of {expression!r} is not a finite number"
        raise ValueError(msg)
    return result


def _value(node: ast.expr) -> float:  # noqa: PLR0911 - a case each
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return number
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left), _value(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left), _value(right))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](_value(argument))
    allowed = f"numbers, + - * / // % **, brackets, {', '.join(_FUNCTIONS)}, pi and e"
    msg = f"{ast.unparse(node)!r} is not allowed; use {allowed}"
    raise ValueError(msg)


def _power(base: float, exponent: float) -> float:
    if isinstance(base, int) and abs(exponent) * base.bit_length() > _MAX_POWER_BITS:
        raise OverflowError
    result = base**exponent
    if isinstance(result, complex):
        msg = f"{base:g} to the power of {exponent:g} is not a real number"
        raise ValueError(msg)  # noqa: TRY004 - the expression's fault, not a type's
    return float(result) if not isinstance(result, int) else result
