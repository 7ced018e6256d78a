"""Normalises statements: every await becomes a suspension statement of its own.

The result is still ordinary structured code with the same meaning; only `Suspend` stands
where the user awaited. Statements without an await are left exactly as they were.
"""

from __future__ import annotations

import ast
import copy
from typing import Any

from raysume.compiler.expressions import Expressions
from raysume.compiler.syntax import (
    ASSERTION_ERROR,
    all_located,
    assign,
    call,
    compare,
    constant,
    load,
    located,
    store,
)

Block = list[ast.stmt]


class Statements(Expressions):
    """Normalises the statements of one function."""

    def block(self, statements: list[ast.stmt]) -> Block:
        """The statements with their awaits as suspension points."""
        return [new for statement in statements for new in self.statement(statement)]

    def statement(self, node: ast.stmt) -> Block:
        """One statement with its awaits as suspension points."""
        if not self.has_await(node):
            return [node]
        match node:
            case ast.Expr():
                return self._expression(node)
            case ast.Assign():
                return self._assign(node)
            case ast.AugAssign():
                return self._augmented(node)
            case ast.Return() | ast.Raise():
                return self._fields(node)
            case ast.Delete():
                return self._delete(node)
            case ast.Assert():
                return self._assert(node)
            case ast.If():
                before, test = self.lift(node.test)
                new = ast.If(test, self.block(node.body), self.block(node.orelse))
                return [*before, located(new, node)]
            case ast.While():
                return self._while(node)
            case ast.For():
                return self._for(node)
            case ast.Try() | ast.TryStar():
                return self._try(node)
            case ast.Match():
                return self._match(node)
            case ast.With() | ast.AsyncWith():
                first = copy.copy(node.items[0])
                before, first.context_expr = self.lift(first.context_expr)
                block = copy.copy(node)
                block.items = [first, *node.items[1:]]
                return [*before, block]
            case ast.AsyncFor():
                loop = copy.copy(node)
                before, loop.iter = self.lift(node.iter)
                return [*before, loop]
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                return self._definition(node)
            case _:
                return [node]  # a rule refuses whatever await is left in it

    # --- simple statements -------------------------------------------------------

    def _expression(self, node: ast.Expr) -> Block:
        if isinstance(node.value, ast.Await):
            return self.suspend(node.value, None)
        before, value = self.lift(node.value)
        return [*before, located(ast.Expr(value), node)]

    def _fields(self, node: ast.Return | ast.Raise) -> Block:
        names = ("value",) if isinstance(node, ast.Return) else ("exc", "cause")
        present = [name for name in names if getattr(node, name) is not None]
        before, values = self.sequence([getattr(node, name) for name in present])
        new = copy.copy(node)
        for name, value in zip(present, values, strict=True):
            setattr(new, name, value)
        return [*before, new]

    def _assign(self, node: ast.Assign) -> Block:
        target = node.targets[0]
        if len(node.targets) == 1 and isinstance(target, ast.Name):
            if isinstance(node.value, ast.Await):
                return self.suspend(node.value, target)
            before, value = self.lift(node.value)
            return [*before, located(ast.Assign([target], value), node)]
        before, value = self.lift(node.value)
        if not any(self.has_await(target) for target in node.targets):
            new = copy.copy(node)
            new.value = value
            return [*before, new]
        more, value = self.spill(value)
        out = [*before, *more]
        for target in node.targets:
            out += self._store(target, value)
        return out

    def _store(self, target: ast.expr, value: ast.expr) -> Block:
        """`target = value`, where the value is at hand and the target may await."""
        before, new = self._target(target)
        if new is not None:
            return [*before, *all_located([ast.Assign([new], value)], target)]
        if not isinstance(target, ast.Tuple | ast.List):
            raise TypeError(f"cannot store into {type(target).__name__}")
        names: list[ast.expr] = []
        stores: list[tuple[ast.expr, str]] = []
        for part in target.elts:
            name = self.fresh("u")
            inner = part.value if isinstance(part, ast.Starred) else part
            starred = isinstance(part, ast.Starred)
            names.append(ast.Starred(store(name), ast.Store()) if starred else store(name))
            stores.append((inner, name))
        unpacked = ast.Tuple(names, ast.Store())
        out = all_located([ast.Assign([unpacked], value)], target)
        for inner, name in stores:
            out += self._store(inner, located(load(name), inner))
        return out

    def _target(self, target: ast.expr) -> tuple[Block, ast.expr | None]:
        """The target with its awaits lifted; None for one that must be unpacked first."""
        if not self.has_await(target):
            return [], target
        match target:
            case ast.Attribute():
                before, value = self.lift(target.value)
                return before, located(ast.Attribute(value, target.attr, target.ctx), target)
            case ast.Subscript():
                before, (value, index) = self.sequence([target.value, target.slice])
                return before, located(ast.Subscript(value, index, target.ctx), target)
            case _:
                return [], None

    def _augmented(self, node: ast.AugAssign) -> Block:
        """The target and its old value are loaded first; the operator works in place."""
        out, old, target = self._parts_of_augmented(node.target)
        name = self.fresh("t")
        out += all_located([assign(name, old)], node)
        before, value = self.lift(node.value)
        operation = ast.AugAssign(store(name), node.op, value)
        return [
            *out,
            *before,
            *all_located([operation, ast.Assign([target], load(name))], node),
        ]

    def _parts_of_augmented(self, target: ast.expr) -> tuple[Block, ast.expr, ast.expr]:
        match target:
            case ast.Attribute():
                before, value = self.lift(target.value)
                more, value = self.spill(value)
                old: ast.expr = ast.Attribute(value, target.attr, ast.Load())
                new: ast.expr = ast.Attribute(copy.copy(value), target.attr, ast.Store())
                return [*before, *more], located(old, target), located(new, target)
            case ast.Subscript():
                before, parts = self.sequence([target.value, target.slice])
                for index, part in enumerate(parts):
                    more, parts[index] = self.spill(part)
                    before += more
                old = ast.Subscript(parts[0], parts[1], ast.Load())
                new = ast.Subscript(copy.copy(parts[0]), copy.copy(parts[1]), ast.Store())
                return before, located(old, target), located(new, target)
            case ast.Name():
                return [], located(load(target.id), target), target
            case _:
                raise TypeError(f"cannot augment {type(target).__name__}")

    def _delete(self, node: ast.Delete) -> Block:
        out: Block = []
        for target in node.targets:
            if isinstance(target, ast.Tuple | ast.List):
                inner = located(ast.Delete(target.elts), node)
                out += self._delete(inner) if target.elts else []
                continue
            before, new = self._target(target)
            out += [*before, *all_located([ast.Delete([new or target])], node)]
        return out

    def _assert(self, node: ast.Assert) -> Block:
        before, test = self.lift(node.test)
        error: ast.expr = constant(ASSERTION_ERROR)
        more: Block = []
        if node.msg is not None:
            more, message = self.lift(node.msg)
            error = call(ASSERTION_ERROR, message)
        fails = ast.If(ast.UnaryOp(ast.Not(), test), [*more, ast.Raise(error, None)], [])
        return all_located([ast.If(load("__debug__"), [*before, fails], [])], node)

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Block:
        new = copy.copy(node)
        if isinstance(new, ast.ClassDef) and isinstance(node, ast.ClassDef):
            parts: list[Any] = [*node.decorator_list, *node.bases, *node.keywords]
            before, values = self.sequence(parts)
            decorators, bases = len(node.decorator_list), len(node.bases)
            new.decorator_list = values[:decorators]
            new.bases = values[decorators : decorators + bases]
            new.keywords = values[decorators + bases :]
            return [*before, new]
        if isinstance(node, ast.ClassDef) or isinstance(new, ast.ClassDef):
            raise TypeError("a copy has another type")
        keywords = [default for default in node.args.kw_defaults if default is not None]
        before, values = self.sequence([*node.decorator_list, *node.args.defaults, *keywords])
        decorators = len(node.decorator_list)
        new.decorator_list = values[:decorators]
        new.args = copy.copy(node.args)
        new.args.defaults = values[decorators : decorators + len(node.args.defaults)]
        rest = iter(values[decorators + len(node.args.defaults) :])
        new.args.kw_defaults = [
            None if default is None else next(rest) for default in node.args.kw_defaults
        ]
        return [*before, new]

    # --- compound statements -----------------------------------------------------

    def _while(self, node: ast.While) -> Block:
        if not self.has_await(node.test):
            new = ast.While(node.test, self.block(node.body), self.block(node.orelse))
            return [located(new, node)]
        before, test = self.lift(node.test)
        ended = self.fresh("l") if node.orelse else None
        leave: Block = [ast.Break()]
        if ended is not None:
            leave = [assign(ended, constant(True)), *leave]
        stop = all_located([ast.If(ast.UnaryOp(ast.Not(), test), leave, [])], node)
        loop = ast.While(constant(True), [*before, *stop, *self.block(node.body)], [])
        if ended is None:
            return all_located([loop], node)
        behind = ast.If(load(ended), self.block(node.orelse), [])
        return all_located([assign(ended, constant(False)), loop, behind], node)

    def _for(self, node: ast.For) -> Block:
        before, iterable = self.lift(node.iter)
        new = copy.copy(node)
        new.iter = iterable
        first: Block = []
        if self.has_await(node.target):
            name = self.fresh("t")
            new.target = located(store(name), node.target)
            first = self._store(node.target, located(load(name), node.target))
        new.body = [*first, *self.block(node.body)]
        new.orelse = self.block(node.orelse)
        return [*before, new]

    def _try(self, node: ast.Try | ast.TryStar) -> Block:
        new = copy.copy(node)
        new.body = self.block(node.body)
        if isinstance(node, ast.Try):
            new.handlers = [copy.copy(handler) for handler in node.handlers]
            for handler in new.handlers:
                handler.body = self.block(handler.body)
        new.orelse = self.block(node.orelse)
        new.finalbody = self.block(node.finalbody)
        return [new]

    def _match(self, node: ast.Match) -> Block:
        """First the case is chosen, then its body runs; a guard that awaits is tried in its turn."""
        before, subject = self.lift(node.subject)
        more, subject = self.spill(subject)
        chosen = self.fresh("c")
        out = [*before, *more, *all_located([assign(chosen, constant(0))], node)]
        group: list[ast.match_case] = []

        def choose() -> Block:
            if not group:
                return []
            tried = ast.Match(copy.copy(subject), list(group))
            group.clear()
            untried = compare(load(chosen), (ast.Eq(), constant(0)))
            return all_located([ast.If(untried, [tried], [])], node)

        for number, case in enumerate(node.cases, 1):
            picked = all_located([assign(chosen, constant(number))], case.body[0])
            if not self.has_await(case.guard) or case.guard is None:
                group.append(ast.match_case(case.pattern, case.guard, picked))
                continue
            out += choose()
            group.append(ast.match_case(case.pattern, None, picked))
            out += choose()
            guard, test = self.lift(case.guard)
            forget = ast.If(ast.UnaryOp(ast.Not(), test), [assign(chosen, constant(0))], [])
            is_this = compare(load(chosen), (ast.Eq(), constant(number)))
            out += all_located([ast.If(is_this, [*guard, forget], [])], case.guard)
        out += choose()
        return out + self._bodies(node, chosen)

    def _bodies(self, node: ast.Match, chosen: str) -> Block:
        bodies = [self.block(case.body) for case in node.cases]
        rest: Block = []
        for number, body in reversed(list(enumerate(bodies, 1))):
            is_this = compare(load(chosen), (ast.Eq(), constant(number)))
            rest = all_located([ast.If(is_this, body, rest)], node.cases[number - 1].body[0])
        return rest
