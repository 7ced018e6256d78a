"""Lifts awaits out of expressions: what remains is evaluated in one go, between two waits.

`f(a(), await b, c())` becomes

    .t1.0 = f ; .t1.1 = a() ; .r1 = await b ; .t1.0(.t1.1, .r1, c())

where everything evaluated before the await is spilled to a variable that can be saved.
The order of evaluation stays Python's own.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Sequence
from typing import Any

from raysume.compiler.awaits import awaiting_nodes
from raysume.compiler.syntax import (
    SLICE,
    Suspend,
    all_located,
    assign,
    call,
    constant,
    load,
    located,
)

Lifted = tuple[list[ast.stmt], ast.expr]
"""Statements to run first, and the expression that then has the value without awaiting."""


class Expressions:
    """Numbers suspension points and lifts them out of expressions."""

    def __init__(self, body: list[ast.stmt]) -> None:
        self._body = body  # kept, so that no other node gets the id of one of its nodes
        self._awaiting = awaiting_nodes(body)
        self.points: list[ast.Await] = []
        """The user's awaits by number, from 1."""
        self._counts: dict[tuple[str, int], int] = {}

    def has_await(self, node: ast.AST | None) -> bool:
        """Whether the node is one of the user's, and an await in it can be lifted."""
        return id(node) in self._awaiting

    def fresh(self, kind: str, point: int | None = None) -> str:
        """A hidden variable that no other code uses, named by the point it is needed at."""
        at = len(self.points) + 1 if point is None else point
        index = self._counts.get((kind, at), 0)
        self._counts[kind, at] = index + 1
        return f".{kind}{at}.{index}"

    def suspend(self, node: ast.Await, target: ast.Name | None) -> list[ast.stmt]:
        """Statements that await, and bind the result to `target` if there is one."""
        before, value = self.lift(node.value)
        self.points.append(node)
        return [*before, located(Suspend(target, value, len(self.points)), node)]

    def lift(self, node: ast.expr) -> Lifted:
        """The expression without its awaits, and what must run before it."""
        if not self.has_await(node):
            return [], node
        match node:
            case ast.Await():
                return self._lift_await(node)
            case ast.NamedExpr():
                before, value = self.lift(node.value)
                return before, located(ast.NamedExpr(node.target, value), node)
            case ast.BoolOp():
                return self._lift_bool(node)
            case ast.IfExp():
                return self._lift_if(node)
            case ast.Compare() if len(node.ops) > 1:
                return self._lift_chain(node)
            case ast.Dict():
                return self._lift_dict(node)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                return self._lift_comprehension(node)
            case ast.Lambda():
                new = copy.copy(node)
                before, new.args = self.lift_defaults(node.args)
                return before, new
            case _:
                return self._lift_children(node)

    def sequence(self, parts: Sequence[ast.AST]) -> tuple[list[ast.stmt], list[Any]]:
        """Parts evaluated from left to right, without their awaits."""
        awaiting = [index for index, part in enumerate(parts) if self.has_await(part)]
        last = awaiting[-1] if awaiting else -1
        before: list[ast.stmt] = []
        new: list[ast.AST] = []
        for index, part in enumerate(parts):
            more, value = self._lift_part(part)
            before += more
            if index < last:
                more, value = self.spill(value)
                before += more
            new.append(value)
        return before, new

    def spill(self, part: Any) -> tuple[list[ast.stmt], Any]:
        """The part evaluated now and kept in a variable; `*x` and `**x` are expanded."""
        inner: ast.expr
        match part:
            case ast.Constant():
                return [], part
            case ast.Name() if part.id.startswith("."):
                return [], part
            case ast.Starred():
                name = self.fresh("t")
                inner = ast.List([ast.Starred(part.value, ast.Load())], ast.Load())
                new: ast.AST = ast.Starred(load(name), ast.Load())
            case ast.keyword(arg=None):
                name = self.fresh("t")
                inner = ast.Dict([None], [part.value])
                new = ast.keyword(None, load(name))
            case ast.keyword():
                more, value = self.spill(part.value)
                return more, located(ast.keyword(part.arg, value), part)
            case ast.FormattedValue():
                name = self.fresh("t")
                inner = ast.JoinedStr([part])
                new = ast.FormattedValue(load(name), -1, None)
            case ast.Slice():
                name = self.fresh("t")
                bounds = (part.lower, part.upper, part.step)
                inner = call(SLICE, *(bound or constant(None) for bound in bounds))
                new = load(name)
            case _:
                name = self.fresh("t")
                inner, new = part, load(name)
        return all_located([assign(name, inner)], part), located(new, part)

    def lift_defaults(self, arguments: ast.arguments) -> tuple[list[ast.stmt], ast.arguments]:
        """The defaults of a nested function without their awaits."""
        keywords = [default for default in arguments.kw_defaults if default is not None]
        before, values = self.sequence([*arguments.defaults, *keywords])
        new = copy.copy(arguments)
        new.defaults = values[: len(arguments.defaults)]
        rest = iter(values[len(arguments.defaults) :])
        new.kw_defaults = [
            None if default is None else next(rest) for default in arguments.kw_defaults
        ]
        return before, new

    # --- one kind of expression each ---------------------------------------------

    def _lift_part(self, part: ast.AST) -> tuple[list[ast.stmt], Any]:
        if not self.has_await(part):
            return [], part
        match part:
            case ast.keyword():
                before, value = self.lift(part.value)
                return before, located(ast.keyword(part.arg, value), part)
            case ast.Starred():
                before, value = self.lift(part.value)
                return before, located(ast.Starred(value, part.ctx), part)
            case ast.expr():
                return self.lift(part)
            case _:
                raise TypeError(f"cannot lift out of {type(part).__name__}")

    def _lift_await(self, node: ast.Await) -> Lifted:
        before, value = self.lift(node.value)
        self.points.append(node)
        number = len(self.points)
        name = self.fresh("r", number)
        target = ast.Name(name, ast.Store())
        return [*before, located(Suspend(target, value, number), node)], located(load(name), node)

    def _lift_children(self, node: ast.expr) -> Lifted:
        slots: list[tuple[str, int | None, ast.AST]] = []
        for name, value in ast.iter_fields(node):
            if isinstance(value, ast.expr):
                slots.append((name, None, value))
            elif value.__class__ is list:
                parts: list[Any] = value
                slots += [
                    (name, index, part)
                    for index, part in enumerate(parts)
                    if isinstance(part, ast.expr | ast.keyword)
                ]
        before, values = self.sequence([part for _, _, part in slots])
        new = copy.copy(node)
        for name in {name for name, index, _ in slots if index is not None}:
            setattr(new, name, list(getattr(node, name)))
        for (name, index, _), value in zip(slots, values, strict=True):
            if index is None:
                setattr(new, name, value)
            else:
                getattr(new, name)[index] = value
        return before, new

    def _lift_bool(self, node: ast.BoolOp) -> Lifted:
        name = self.fresh("b")

        def rest(values: list[ast.expr]) -> list[ast.stmt]:
            before, value = self.lift(values[0])
            out = [*before, *all_located([assign(name, value)], values[0])]
            if len(values) > 1:
                test: ast.expr = load(name)
                if isinstance(node.op, ast.Or):
                    test = ast.UnaryOp(ast.Not(), test)
                out += all_located([ast.If(test, rest(values[1:]), [])], node)
            return out

        return rest(node.values), located(load(name), node)

    def _lift_if(self, node: ast.IfExp) -> Lifted:
        name = self.fresh("b")
        before, test = self.lift(node.test)
        branches: list[list[ast.stmt]] = []
        for choice in (node.body, node.orelse):
            inner, value = self.lift(choice)
            branches.append([*inner, *all_located([assign(name, value)], choice)])
        decision = ast.If(test, branches[0], branches[1])
        return [*before, *all_located([decision], node)], located(load(name), node)

    def _lift_chain(self, node: ast.Compare) -> Lifted:
        name = self.fresh("b")
        before, left = self.lift(node.left)
        more, left = self.spill(left)

        def rest(left: ast.expr, index: int) -> list[ast.stmt]:
            out, right = self.lift(node.comparators[index])
            last = index == len(node.ops) - 1
            if not last:
                spilled, right = self.spill(right)
                out += spilled
            test = ast.Compare(left, [node.ops[index]], [right])
            out += all_located([assign(name, test)], node)
            if not last:
                out += all_located([ast.If(load(name), rest(right, index + 1), [])], node)
            return out

        return [*before, *more, *rest(left, 0)], located(load(name), node)

    def _lift_dict(self, node: ast.Dict) -> Lifted:
        pairs = list(zip(node.keys, node.values, strict=True))
        last = max(i for i, (k, v) in enumerate(pairs) if self.has_await(k) or self.has_await(v))
        before: list[ast.stmt] = []
        keys: list[ast.expr | None] = []
        values: list[ast.expr] = []
        for index, (key, value) in enumerate(pairs):
            if key is None:
                more, new = self.lift(value)
                before += more
                keys.append(None)
                values.append(new)
                if index < last:  # `**x` is merged now, together with what stands before it
                    merged = self.fresh("t")
                    made = ast.Dict(list(keys), list(values))
                    before += all_located([assign(merged, made)], node)
                    keys, values = [None], [located(load(merged), node)]
                continue
            more, (new_key, new_value) = self.sequence([key, value])
            before += more
            if index < last:
                for part, into in ((new_key, keys), (new_value, values)):
                    more, spilled = self.spill(part)
                    before += more
                    into.append(spilled)
            else:
                keys.append(new_key)
                values.append(new_value)
        return before, located(ast.Dict(keys, values), node)

    def _lift_comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
    ) -> Lifted:
        first = copy.copy(node.generators[0])
        before, first.iter = self.lift(first.iter)
        new = copy.copy(node)
        new.generators = [first, *node.generators[1:]]
        return before, new
