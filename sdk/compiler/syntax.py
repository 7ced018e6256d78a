"""Building blocks of lowered code: hidden names, hidden constants, and the suspension node.

Hidden names begin with a dot, so that no user code can spell them. Hidden objects stand in
the lowered tree as string constants beginning with a NUL, which are exchanged for the real
objects once the code is compiled: cheaper than globals or cells, and out of reach.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Any, Final

PC: Final = ".pc"
"""The local that holds the point at which the coroutine is suspended; 0 while it runs."""
FRAME: Final = ".rt"
SAVED: Final = ".s"
AWAITED: Final = ".w"
"""The local that holds what is awaited while suspended."""

ENTER: Final = "\0enter"
RERAISE: Final = "\0reraise"
EXCEPTION: Final = "\0exception"
VISIBLE: Final = "\0visible"
END: Final = "\0end"
ITER: Final = "\0iter"
NEXT: Final = "\0next"
SLICE: Final = "\0slice"
BASE_EXCEPTION: Final = "\0BaseException"
GENERATOR_EXIT: Final = "\0GeneratorExit"
ASSERTION_ERROR: Final = "\0AssertionError"

Interval = tuple[int, int]
"""The points from the first to the second, both included."""

NESTED_SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class Suspend(ast.stmt):
    """A suspension point: `target = await value`, where evaluating `value` awaits nothing."""

    _fields = ("target", "value")

    target: ast.Name | None
    value: ast.expr
    number: int

    def __init__(self, target: ast.Name | None, value: ast.expr, number: int) -> None:
        super().__init__()
        self.target, self.value, self.number = target, value, number


# --- constructors ----------------------------------------------------------------


def load(name: str) -> ast.Name:
    """The variable's value."""
    return ast.Name(name, ast.Load())


def store(name: str) -> ast.Name:
    """The variable as a target."""
    return ast.Name(name, ast.Store())


def constant(value: Any) -> ast.Constant:
    """A constant, or a hidden object by its NUL name."""
    return ast.Constant(value)


def assign(name: str, value: ast.expr) -> ast.Assign:
    """`name = value`."""
    return ast.Assign([store(name)], value)


def call(function: str, *args: ast.expr) -> ast.Call:
    """A call of a hidden function."""
    return ast.Call(constant(function), list(args), [])


def compare(left: ast.expr, *rest: tuple[ast.cmpop, ast.expr]) -> ast.Compare:
    """A comparison chain."""
    return ast.Compare(left, [op for op, _ in rest], [operand for _, operand in rest])


def both(*tests: ast.expr) -> ast.expr:
    """All the tests hold."""
    return ast.BoolOp(ast.And(), list(tests))


def either(*tests: ast.expr) -> ast.expr:
    """One of the tests holds."""
    return ast.BoolOp(ast.Or(), list(tests))


def running() -> ast.expr:
    """The code runs, i.e. it is not on its way to a saved point."""
    return compare(load(PC), (ast.Eq(), constant(0)))


def alive() -> ast.expr:
    """The coroutine is not being dropped."""
    return compare(load(PC), (ast.NotEq(), constant(-1)))


def heading(interval: Interval) -> ast.expr:
    """The saved point lies in the interval."""
    low, high = interval
    if low == high:
        return compare(load(PC), (ast.Eq(), constant(low)))
    return compare(constant(low), (ast.LtE(), load(PC)), (ast.LtE(), constant(high)))


def located(node: ast.AST, like: ast.AST) -> Any:
    """The node, it and all of its parts without a place put where `like` stands.

    A part that has a place is complete: it is not looked into.
    """
    pending = [node]
    while pending:
        found = pending.pop()
        if "lineno" in found._attributes:
            if hasattr(found, "lineno"):
                continue
            ast.copy_location(found, like)
        pending += children(found)
    return node


def all_located(nodes: Iterable[ast.stmt], like: ast.AST) -> list[ast.stmt]:
    """The statements, put where `like` stands."""
    return [located(node, like) for node in nodes]


# --- looking at trees ------------------------------------------------------------


_LEAVES: Final = frozenset(
    {"ctx", "op", "ops", "id", "attr", "name", "arg", "kind", "type_comment"}
)
"""Fields that hold texts, or nodes that say nothing by themselves: contexts and operators."""
_inner_fields: Final[dict[type[ast.AST], tuple[str, ...]]] = {}
"""By kind of node: the fields that may hold nodes to look at."""


def children(node: ast.AST) -> list[ast.AST]:
    """The nodes directly below, in order, contexts and operators left out.

    Several times as fast as `ast.iter_child_nodes`: compiling a function looks at its tree often.
    """
    fields = _inner_fields.get(node.__class__)
    if fields is None:
        fields = tuple(name for name in node._fields if name not in _LEAVES)
        _inner_fields[node.__class__] = fields
    out: list[ast.AST] = []
    for name in fields:
        value: Any = getattr(node, name, None)
        if isinstance(value, ast.AST):
            out.append(value)
        elif value.__class__ is list:
            parts: list[Any] = value
            out += [part for part in parts if isinstance(part, ast.AST)]
    return out


def everything_below(node: ast.AST) -> Iterator[ast.AST]:
    """The node and all nodes below it, nested functions included."""
    pending = [node]
    while pending:
        found = pending.pop()
        yield found
        pending += children(found)


def copied(node: Any) -> Any:
    """A copy of the tree, with its places and marks; several times as fast as `copy.deepcopy`."""
    if isinstance(node, ast.AST):
        new = node.__class__.__new__(node.__class__)
        for name, value in node.__dict__.items():
            is_tree = isinstance(value, ast.AST) or type(value) is list
            new.__dict__[name] = copied(value) if is_tree else value
        return new
    parts: Any = node
    return [copied(part) for part in parts] if type(node) is list else node


def own_scope(node: ast.AST) -> Iterator[ast.AST]:
    """The node and everything below it that belongs to the same function.

    Of nested functions and classes only what is evaluated here: decorators, defaults, bases.
    """
    pending = [node]
    while pending:
        found = pending.pop()
        yield found
        pending.extend(evaluated_here(found))


def evaluated_here(node: ast.AST) -> Iterator[ast.AST]:
    """The node's children, without the bodies of nested functions and classes."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from node.decorator_list
            yield from children(node.args)
            if node.returns is not None:
                yield node.returns
        case ast.Lambda():
            yield from (d for d in (*node.args.defaults, *node.args.kw_defaults) if d)
        case ast.ClassDef():
            yield from (*node.decorator_list, *node.bases, *node.keywords)
        case _:
            yield from children(node)


def interval_of(statements: Iterable[ast.AST]) -> Interval | None:
    """The points in the normalised statements, which are always consecutive; None without any."""
    numbers = [found.number for statement in statements for found in suspensions(statement)]
    return (min(numbers), max(numbers)) if numbers else None


def suspensions(statement: ast.AST) -> Iterator[Suspend]:
    """The suspension points in the normalised statement."""
    pending: list[ast.AST] = [statement]
    while pending:
        found = pending.pop()
        match found:
            case Suspend():
                yield found
            case ast.If() | ast.While() | ast.For():
                pending += [*found.body, *found.orelse]
            case ast.Try() | ast.TryStar():
                pending += [*found.body, *found.orelse, *found.finalbody, *found.handlers]
            case ast.ExceptHandler():
                pending += found.body
            case _:
                pass


def has_suspension(statement: ast.AST) -> bool:
    """Whether a suspension point stands in the normalised statement."""
    return any(True for _ in suspensions(statement))
