"""Makes a copy of a function's tree ready for lowering.

What depends on where the function stood is made explicit: zero-argument `super()`, the
places of nested functions, annotations of captured variables, and `locals()`.
"""

from __future__ import annotations

import ast
from types import CodeType
from typing import Any

from raysume.compiler.source import FunctionNode
from raysume.compiler.syntax import (
    COMPREHENSIONS,
    VISIBLE,
    call,
    copied,
    everything_below,
    load,
    located,
)

_ORDINAL = "raysume_ordinal"


def prepared(node: ast.AsyncFunctionDef, code: CodeType) -> ast.AsyncFunctionDef:
    """A copy of the function that can be lowered; its nested functions are numbered."""
    function: ast.AsyncFunctionDef = copied(node)
    for ordinal, nested in enumerate(nested_functions(function)):
        setattr(nested, _ORDINAL, ordinal)
    transformer = _Explicit(code)
    body: list[Any] = [transformer.visit(statement) for statement in function.body]
    function.body = body
    return function


def nested_functions(node: ast.AST) -> list[FunctionNode]:
    """The functions and lambdas below the node, in the order of the source."""
    found = [
        inner
        for inner in everything_below(node)
        if isinstance(inner, FunctionNode) and inner is not node
    ]
    return sorted(found, key=lambda inner: (inner.lineno, inner.col_offset))


def ordinal_of(node: ast.AST) -> int | None:
    """The place of a nested function among all those of the outer one; None for others."""
    found = getattr(node, _ORDINAL, None)
    return found if isinstance(found, int) else None


class _Explicit(ast.NodeTransformer):
    def __init__(self, code: CodeType) -> None:
        self._captured = {*code.co_cellvars, *code.co_freevars}
        self._locals = {*code.co_varnames, *code.co_cellvars}
        self._first = code.co_varnames[0] if code.co_argcount else None

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, FunctionNode):
            self._visit_all(node.args.defaults)
            self._visit_all(node.args.kw_defaults)
            self._visit_all([] if isinstance(node, ast.Lambda) else node.decorator_list)
            return node
        if isinstance(node, ast.ClassDef):
            for evaluated in (node.decorator_list, node.bases):
                self._visit_all(evaluated)
            return node
        if isinstance(node, COMPREHENSIONS):
            node.generators[0].iter = self.visit(node.generators[0].iter)
            return node
        return super().visit(node)

    def _visit_all(self, expressions: list[Any]) -> None:
        expressions[:] = [None if e is None else self.visit(e) for e in expressions]

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        if not isinstance(node.func, ast.Name) or node.args or node.keywords:
            return node
        name = node.func.id
        if name in self._locals:
            return node
        if name == "super" and self._first is not None and "__class__" in self._captured:
            arguments: list[ast.expr] = [load("__class__"), load(self._first)]
            return located(ast.Call(node.func, arguments, []), node)
        if name in ("locals", "vars", "dir"):
            return located(call(VISIBLE, node), node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        self.generic_visit(node)
        if node.value is not None:
            return located(ast.Assign([node.target], node.value), node)
        if isinstance(node.target, ast.Name) and node.target.id in self._captured:
            return located(ast.Pass(), node)
        node.annotation = located(ast.Constant(None), node)
        return node
