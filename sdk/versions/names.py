"""Which names a piece of source code uses that it does not bind itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from raysume.compiler.syntax import COMPREHENSIONS, children, evaluated_here

Chain = tuple[str, ...]
"""A name, and the attributes that are read of it: `calls.billing.paid`."""

_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def free_names(node: ast.AST) -> set[Chain]:
    """The names that are looked up outside of the node, with what is read of them.

    Names bound in the body of a class count as free: its methods do not see them. So do names that
    a function imports: they are those of another module.
    """
    found: set[Chain] = set()
    pending: list[tuple[ast.AST, frozenset[str]]] = [(node, frozenset())]
    while pending:
        one, bound = pending.pop()
        if isinstance(one, ast.Name | ast.Attribute):
            chain = _chain(one)
            if chain is None:  # an attribute of something without a name
                pending += ((child, bound) for child in children(one))
            elif chain[0] not in bound:
                found.add(chain)
        elif isinstance(one, _FUNCTIONS):
            inside = bound | _locals(one)
            body = one.body if isinstance(one.body, list) else [one.body]
            pending += ((part, bound) for part in evaluated_here(one))
            pending += ((part, inside) for part in body)
        elif isinstance(one, COMPREHENSIONS):
            inside = bound | {name for part in one.generators for name in _stored(part.target)}
            pending.append((one.generators[0].iter, bound))
            pending += ((part, inside) for part in children(one))
        else:
            pending += ((child, bound) for child in children(one))
    return found


def bound_names(statement: ast.stmt) -> set[str]:
    """The names that a statement of a module binds there, or changes the value of."""
    found: set[str] = set()
    for part in _own(statement):
        found.update(_bound_by(part))
    match statement:
        case ast.Expr(value=ast.Call() as called):  # items.append(...), registered(...)
            chain = _chain(called.func)
            found.update((chain[0],) if chain and len(chain) > 1 else ())
        case _:
            pass
    return found


def _bound_by(part: ast.AST) -> Iterator[str]:
    match part:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield part.name
        case ast.Import() | ast.ImportFrom():
            for alias in part.names:
                yield alias.asname or alias.name.partition(".")[0]
        case ast.Name(ctx=ast.Store()):
            yield part.id
        case ast.Attribute(ctx=ast.Store()) | ast.Subscript(ctx=ast.Store()):
            root: ast.AST = part
            while isinstance(root, ast.Attribute | ast.Subscript):
                root = root.value
            if isinstance(root, ast.Name):
                yield root.id
        case ast.ExceptHandler(name=str(name)):
            yield name
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name
        case ast.MatchMapping(rest=str(name)):
            yield name
        case _:
            pass


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """The node and what is below it, but for the insides of functions and classes and for the
    variables of comprehensions."""
    pending = [node]
    while pending:
        one = pending.pop()
        yield one
        if isinstance(one, ast.comprehension):
            pending += (one.iter, *one.ifs)
        else:
            pending += evaluated_here(one)


def _locals(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> set[str]:
    given = function.args
    found = {one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
    found |= {one.arg for one in (given.vararg, given.kwarg) if one is not None}
    if isinstance(function, ast.Lambda):
        return found | _stored(function.body)
    elsewhere: set[str] = set()
    for statement in function.body:
        for part in _own(statement):
            if isinstance(part, ast.Global | ast.Nonlocal):
                elsewhere.update(part.names)
            elif not isinstance(part, ast.Attribute | ast.Subscript | ast.Import | ast.ImportFrom):
                found.update(_bound_by(part))
    return found - elsewhere


def _stored(node: ast.AST) -> set[str]:
    return {
        part.id
        for part in _own(node)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    }


def _chain(node: ast.AST) -> Chain | None:
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return (node.id, *reversed(attributes)) if isinstance(node, ast.Name) else None
