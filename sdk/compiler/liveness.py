"""Which variables are live at each suspension point: only those are saved.

Backward dataflow over the normalised statements. Whatever is live into a handler or a
`finally` is live throughout its `try`, since anything may raise. Where it is not known
whether a variable is bound (patterns, operands that may be skipped, opaque blocks) nothing
ends its life.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from raysume.compiler.syntax import NESTED_SCOPES, Suspend, children, evaluated_here, own_scope

Names = frozenset[str]
NONE: Final[Names] = frozenset()

SHOW_ALL: Final = frozenset({"locals", "vars", "dir", "eval", "exec"})
"""Functions that can see any variable: a function that names one saves all its variables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exits:
    """What is live where control goes when it does not fall through."""

    error: Names = NONE
    leave: Names = NONE
    """On return."""
    stop: Names = NONE
    """On break."""
    again: Names = NONE
    """On continue."""

    def all(self) -> Names:
        """Live at any of them."""
        return self.error | self.leave | self.stop | self.again


class Liveness:
    """Computes what is live at each suspension point."""

    def __init__(self) -> None:
        self.at: dict[int, Names] = {}
        """By the number of the point."""

    def of(self, body: list[ast.stmt]) -> dict[int, Names]:
        """The live variables by point, for a function's normalised body."""
        self._block(body, NONE, Exits())
        return self.at

    def _block(self, statements: list[ast.stmt], out: Names, exits: Exits) -> Names:
        for statement in reversed(statements):
            out = self._statement(statement, out, exits)
        return out

    def _statement(self, node: ast.stmt, out: Names, exits: Exits) -> Names:
        match node:
            case Suspend():
                return self._suspend(node, out, exits)
            case ast.If():
                live = self._block(node.body, out, exits) | self._block(node.orelse, out, exits)
                return (live - surely_bound(node.test)) | uses(node.test) | exits.error
            case ast.While():
                return self._loop(node, uses(node.test), surely_bound(node.test), out, exits)
            case ast.For() | ast.AsyncFor():
                used = uses(node.iter) | uses(node.target)
                return self._loop(node, used, bound(node.target), out, exits)
            case ast.Try() | ast.TryStar():
                return self._try(node, out, exits)
            case ast.With() | ast.AsyncWith():
                inside = replace(exits, error=exits.error | out)  # it may swallow an exception
                live = self._block(node.body, out, inside) | out
                return live | _uses_of_all(node.items) | exits.error
            case ast.Match():
                live = out
                for case in node.cases:
                    live |= self._block(case.body, out, exits) | uses(case.pattern)
                    live |= uses(case.guard) if case.guard is not None else NONE
                return live | uses(node.subject) | exits.error
            case ast.Return():
                return exits.leave | uses(node) | exits.error
            case ast.Raise():
                return uses(node) | exits.error
            case ast.Break():
                return exits.stop | exits.error
            case ast.Continue():
                return exits.again | exits.error
            case _:
                out = out - bound(node) - surely_bound(node)
                return out | uses(node) | exits.error

    def _suspend(self, node: Suspend, out: Names, exits: Exits) -> Names:
        live = exits.error | (out - bound(node.target) if node.target is not None else out)
        self.at[node.number] = self.at.get(node.number, NONE) | live
        return live | uses(node.value)

    def _loop(
        self,
        node: ast.While | ast.For | ast.AsyncFor,
        used: Names,
        bound_at_top: Names,
        out: Names,
        exits: Exits,
    ) -> Names:
        live = self._block(node.orelse, out, exits)
        if isinstance(node, ast.While):
            live -= bound_at_top
        live |= used | exits.error
        while True:
            inside = replace(exits, stop=out, again=live)
            more = live | (self._block(node.body, live, inside) - bound_at_top)
            if more == live:
                return live
            live = more

    def _try(self, node: ast.Try | ast.TryStar, out: Names, exits: Exits) -> Names:
        behind = exits
        if node.finalbody:
            out = self._block(node.finalbody, out | exits.all(), exits)
            behind = Exits(error=out, leave=out, stop=out, again=out)
        handled = NONE
        for _ in range(2 if isinstance(node, ast.TryStar) else 1):
            after = out | (handled if isinstance(node, ast.TryStar) else NONE)
            for handler in node.handlers:
                live = self._block(handler.body, after, behind)
                handled |= live - ({handler.name} if handler.name else NONE)
                handled |= uses(handler.type) if handler.type is not None else NONE
        inside = replace(behind, error=behind.error | handled)
        otherwise = self._block(node.orelse, out, behind)
        return self._block(node.body, otherwise, inside) | inside.error


# --- uses and bindings -----------------------------------------------------------


def uses(node: ast.AST) -> Names:
    """Variables of the function that the node reads or deletes, nested comprehensions included."""
    found: set[str] = set()
    for part in own_scope(node):
        match part:
            case ast.Name(ctx=ast.Load() | ast.Del()):
                found.add(part.id)
            case ast.AugAssign(target=ast.Name(id=name)):
                found.add(name)
            case _:
                pass
    return frozenset(found)


def _uses_of_all(nodes: Iterable[ast.AST]) -> Names:
    return NONE.union(*(uses(node) for node in nodes))


def bound(node: ast.AST) -> Names:
    """Variables that are certainly bound, to something new, when the node has run."""
    match node:
        case ast.Name(ctx=ast.Store()):
            return frozenset({node.id})
        case ast.Assign():
            return NONE.union(*(bound(target) for target in node.targets))
        case ast.AugAssign() | ast.AnnAssign():
            return bound(node.target)
        case ast.Tuple() | ast.List():
            return NONE.union(*(bound(part) for part in node.elts))
        case ast.Starred():
            return bound(node.value)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return frozenset({node.name})
        case ast.Import() | ast.ImportFrom():
            names = (alias.asname or alias.name.partition(".")[0] for alias in node.names)
            return frozenset(names)
        case _:
            return NONE


def surely_bound(node: ast.AST) -> Names:
    """Variables that `:=` binds whenever the expression or simple statement is evaluated."""
    match node:
        case ast.NamedExpr():
            return frozenset({node.target.id}) | surely_bound(node.value)
        case ast.BoolOp():
            return surely_bound(node.values[0])
        case ast.IfExp() | ast.Assert():
            return surely_bound(node.test)
        case ast.Compare():
            return surely_bound(node.left) | surely_bound(node.comparators[0])
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            return NONE
        case ast.expr() | ast.keyword() | ast.Expr() | ast.Assign() | ast.AugAssign():
            return NONE.union(*(surely_bound(part) for part in evaluated_here(node)))
        case _:
            return NONE


def sees_everything(body: Iterable[ast.AST]) -> bool:
    """Whether the function names a builtin that can see any of its variables."""
    pending = list(body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Name) and node.id in SHOW_ALL:
            return True
        if not isinstance(node, NESTED_SCOPES):
            pending += children(node)
        else:
            pending.extend(evaluated_here(node))
    return False
