"""A match taken apart: each part evaluated by itself for one call, for people to read."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from types import CellType, FunctionType
from typing import Any

from raysume import compiler
from raysume.call import Call
from raysume.explanations import Comparison
from raysume.limits import EXPLAIN_VALUE_CHARS_MAX
from raysume.matching import lambdas, predicates

Fields = tuple[tuple[str, Any], ...]


def comparisons_of(
    predicate: bytes | None, fields: Fields, function: Any, call: Call[Any, Any]
) -> list[Comparison]:
    """Every part of the match, with its values for this call.

    Args:
        predicate: as saved with the wait: its variables are those of the moment of the wait.
        fields, function: the wait's own, for a match that the key alone decides.
    """
    if predicate is not None:
        fields, function = compiler.loads(predicate)
    found = [_of_field(part, value, call) for part, value in fields]
    if function is not None:
        found.extend(_of_function(function, call))
    return found


def _of_field(part: str, value: Any, call: Call[Any, Any]) -> Comparison:
    wanted = shown(value)
    expression = f"{part} == {_text(value)}"
    try:
        found = predicates.reader(part)(call)
        holds = bool(found == value)
    except Exception as error:  # user types: whatever following the path raises
        return Comparison(expression=expression, holds=None, wait=wanted, error=_raised(error))
    return Comparison(expression=expression, holds=holds, call=shown(found), wait=wanted)


def _of_function(function: Any, call: Call[Any, Any]) -> Iterator[Comparison]:
    tree = lambdas.tree_of(function) if type(function) is FunctionType else None
    if tree is None or not tree.args.args:
        name = getattr(function, "__qualname__", repr(function))
        yield _whole(f"{name}(call)", lambda: function(call))
        return
    parts = _Parts(function, tree, call)
    for node in _leaves(tree.body):
        yield parts.comparison(node)


def _leaves(node: ast.expr) -> Iterator[ast.expr]:
    """The parts joined by and, or and not."""
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from _leaves(value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield from _leaves(node.operand)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
        yield from _leaves(node.left)
        yield from _leaves(node.right)
    else:
        yield node


def _whole(expression: str, evaluate: Callable[[], Any]) -> Comparison:
    try:
        value = evaluate()
        return Comparison(expression=expression, holds=bool(value), call=shown(value))
    except Exception as error:  # user code
        return Comparison(expression=expression, holds=None, error=_raised(error))


class _Parts:
    """Evaluates parts of one lambda for one call."""

    def __init__(self, function: FunctionType, tree: ast.Lambda, call: Call[Any, Any]) -> None:
        self._function, self._tree, self._call = function, tree, call
        self._name = tree.args.args[0].arg
        cells = function.__closure__ or ()
        self._cells: dict[str, CellType] = dict(
            zip(function.__code__.co_freevars, cells, strict=True)
        )

    def comparison(self, node: ast.expr) -> Comparison:
        expression = ast.unparse(node)
        whole = _whole(expression, lambda: self._value(node))
        if not isinstance(node, ast.Compare) or len(node.ops) != 1:
            return whole
        left, right = node.left, node.comparators[0]
        if self._mentions_call(right) and not self._mentions_call(left):
            left, right = right, left
        if self._mentions_call(right):
            return whole
        return Comparison(
            expression=expression,
            holds=whole.holds,
            call=self._shown(left) if self._mentions_call(left) else None,
            wait=self._shown(right),
            error=whole.error,
        )

    def _mentions_call(self, node: ast.expr) -> bool:
        return any(
            isinstance(inner, ast.Name) and inner.id == self._name for inner in ast.walk(node)
        )

    def _shown(self, node: ast.expr) -> str | None:
        try:
            return shown(self._value(node))
        except Exception:  # the whole part says what was raised
            return None

    def _value(self, node: ast.expr) -> Any:
        code = self._function.__code__
        part = ast.copy_location(ast.Lambda(args=self._tree.args, body=node), self._tree)
        made = lambdas.compiled(part, code.co_freevars, code)
        if made is None:
            raise SyntaxError(f"{ast.unparse(node)} cannot stand by itself")
        closure = tuple(self._cells[name] for name in made.co_freevars)
        function = FunctionType(
            made, self._function.__globals__, "part", self._function.__defaults__, closure
        )
        return function(self._call)


def shown(value: Any) -> str:
    """A value and its type, short."""
    return f"{_text(value)} ({type(value).__qualname__})"


def _text(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as error:  # user code
        text = f"<repr raised {type(error).__qualname__}>"
    most = EXPLAIN_VALUE_CHARS_MAX
    return text if len(text) <= most else text[:most] + "..."


def _raised(error: Exception) -> str:
    return f"{type(error).__qualname__}: {error}"
