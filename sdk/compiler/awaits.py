"""Which awaits of a function become suspension points, and which stay inside opaque code."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from raysume.compiler.syntax import evaluated_here

OpaquePart = tuple[str, ast.AST]
"""A rule's id and the part of a statement or expression in which that rule refuses waits."""


def liftable_children(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of the node whose awaits become suspension points."""
    match node:
        case ast.With() | ast.AsyncWith():
            yield node.items[0].context_expr
        case ast.AsyncFor():
            yield node.iter
        case ast.TryStar():
            yield from (*node.body, *node.orelse, *node.finalbody)
        case ast.ExceptHandler():
            yield from node.body
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            yield node.generators[0].iter
        case ast.AnnAssign():
            yield node.target
            if node.value is not None:
                yield node.value
        case _:
            yield from evaluated_here(node)


def opaque_parts(node: ast.AST) -> Iterator[OpaquePart]:
    """The parts of the node that run unchanged: a wait in them cannot be saved."""
    match node:
        case ast.With():
            yield from (("wait-in-with", part) for part in _within(node))
        case ast.AsyncWith():
            yield from (("wait-in-async-with", part) for part in _within(node))
        case ast.AsyncFor():
            parts = (node.target, *node.body, *node.orelse)
            yield from (("wait-in-async-for", part) for part in parts)
        case ast.TryStar():
            yield from (("wait-in-except-star", handler) for handler in node.handlers)
        case ast.ExceptHandler() if node.type is not None:
            yield ("wait-in-handler-type", node.type)
        case ast.GeneratorExp():
            yield from (("wait-in-generator", part) for part in _inside(node))
        case ast.ListComp() | ast.SetComp() | ast.DictComp():
            yield from (("wait-in-comprehension", part) for part in _inside(node))
        case _:
            return


def _within(node: ast.With | ast.AsyncWith) -> Iterator[ast.AST]:
    first, *rest = node.items
    if first.optional_vars is not None:
        yield first.optional_vars
    yield from (*rest, *node.body)


def _inside(
    node: ast.GeneratorExp | ast.ListComp | ast.SetComp | ast.DictComp,
) -> Iterator[ast.AST]:
    if isinstance(node, ast.DictComp):
        yield from (node.key, node.value)
    else:
        yield node.elt
    first, *rest = node.generators
    yield from (first.target, *first.ifs, *rest)


def awaiting_nodes(body: list[ast.stmt]) -> set[int]:
    """The ids of all nodes of a function's body in which an await can be lifted."""
    found: set[int] = set()

    def look(node: ast.AST) -> bool:
        awaits = isinstance(node, ast.Await)
        for child in liftable_children(node):
            awaits = look(child) or awaits
        if awaits:
            found.add(id(node))
        return awaits

    for statement in body:
        look(statement)
    return found


def opaque_awaits(node: ast.AST, rule: str | None = None) -> Iterator[tuple[str, ast.Await]]:
    """Every await of the function that stays in opaque code, with the rule that names it."""
    if rule is not None:
        if isinstance(node, ast.Await):
            yield rule, node
        for child in evaluated_here(node):
            yield from opaque_awaits(child, rule)
        return
    for found, part in opaque_parts(node):
        yield from opaque_awaits(part, found)
    for child in liftable_children(node):
        yield from opaque_awaits(child)


def liftable_awaits(node: ast.AST) -> Iterator[ast.Await]:
    """Every await of the function that becomes a suspension point."""
    pending = [node]
    while pending:
        found = pending.pop()
        if isinstance(found, ast.Await):
            yield found
        pending.extend(liftable_children(found))


def annotation_awaits(node: ast.AST) -> Iterator[ast.Await]:
    """Awaits in the annotations of the nested functions that the node defines."""
    pending = [node]
    while pending:
        found = pending.pop()
        pending += evaluated_here(found)
        if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = found.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            every += [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
            for part in (*(argument.annotation for argument in every), found.returns):
                if part is not None:
                    yield from liftable_awaits(part)
