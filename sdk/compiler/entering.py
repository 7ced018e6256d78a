"""Makes normalised code enterable at any of its suspension points.

Simple statements run only while `.pc` is 0; a compound statement is entered at 0 or when the
saved point lies inside it. So entering with a point walks straight down to it without running
user code. At -1 the coroutine is being dropped: no handler matches and no `finally` runs.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable

from raysume.compiler.completion import Completions
from raysume.compiler.syntax import (
    AWAITED,
    BASE_EXCEPTION,
    END,
    ENTER,
    EXCEPTION,
    FRAME,
    GENERATOR_EXIT,
    ITER,
    NEXT,
    PC,
    RERAISE,
    Interval,
    Suspend,
    alive,
    all_located,
    assign,
    both,
    call,
    compare,
    constant,
    copied,
    either,
    has_suspension,
    heading,
    interval_of,
    load,
    located,
    running,
    store,
)

Block = list[ast.stmt]
NO_TYPES = ast.Tuple([], ast.Load())


class Entering(Completions):
    """Adds the guards, and what they need, to one function's normalised body."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[tuple[str, Interval]] = []
        """Hidden variables that are live throughout an interval of points."""
        self._counts: dict[tuple[str, int], int] = {}

    def block(self, statements: Iterable[ast.stmt]) -> Block:
        """The statements, guarded."""
        out: Block = []
        plain: Block = []
        for statement in statements:
            if not has_suspension(statement):
                plain += self.noted(statement)
                continue
            if plain:
                out += all_located([ast.If(running(), plain, [])], plain[0])
                plain = []
            out += self._statement(statement)
        if plain:
            out += all_located([ast.If(running(), plain, [])], plain[0])
        return out

    def _name(self, kind: str, interval: Interval) -> str:
        index = self._counts.get((kind, interval[0]), 0)
        self._counts[kind, interval[0]] = index + 1
        name = f".{kind}{interval[0]}.{index}"
        self.held.append((name, interval))
        return name

    def _statement(self, node: ast.stmt) -> Block:
        if isinstance(node, Suspend):
            return self._suspend(node)
        interval = interval_of([node])
        if interval is None:
            raise ValueError("a statement without points needs no guard of its own")
        match node:
            case ast.If():
                inner = self._if(node)
            case ast.While():
                inner = self._while(node, interval_of(node.body), node.test, [])
            case ast.For():
                inner = self._for(node)
            case ast.Try() | ast.TryStar():
                inner = self._try(node)
            case _:
                raise TypeError(f"{type(node).__name__} holds a suspension point")
        guard = either(running(), heading(interval))
        return all_located([ast.If(guard, all_located(inner, node), [])], node)

    def _suspend(self, node: Suspend) -> Block:
        number = constant(node.number)
        at_point = compare(load(PC), (ast.Eq(), number))
        restored = ast.Attribute(load(FRAME), "restored", ast.Load())
        arrive = ast.If(
            running(),
            [assign(AWAITED, call(ENTER, node.value)), assign(PC, number)],
            [ast.If(copied(at_point), [assign(AWAITED, restored)], [])],
        )
        awaited = ast.Await(load(AWAITED))
        wait: ast.stmt = ast.Expr(awaited)
        if node.target is not None:
            wait = ast.Assign([node.target], awaited)
        dropped = ast.ExceptHandler(
            constant(GENERATOR_EXIT), None, [assign(PC, constant(-1)), ast.Raise(None, None)]
        )
        raised = ast.ExceptHandler(
            constant(BASE_EXCEPTION),
            None,
            [assign(PC, constant(0)), assign(AWAITED, constant(None)), ast.Raise(None, None)],
        )
        go_on: Block = [
            ast.Try([wait], [dropped, raised], [], []),
            assign(PC, constant(0)),
            assign(AWAITED, constant(None)),
        ]
        return all_located([arrive, ast.If(at_point, go_on, [])], node)

    def _if(self, node: ast.If) -> Block:
        body, orelse = interval_of(node.body), interval_of(node.orelse)
        test: ast.expr = node.test
        if body is not None:
            test = either(heading(body), both(running(), test))
        elif orelse is not None:
            test = both(running(), test)
        return [ast.If(test, self.block(node.body), self.block(node.orelse))]

    def _while(
        self, node: ast.While | ast.For, body: Interval | None, test: ast.expr, first: Block
    ) -> Block:
        go_on = both(running(), test)
        if body is not None:
            go_on = either(heading(body), go_on)
        with self.in_loop():
            inner = first + self.block(node.body)
        return [ast.While(go_on, inner, self.block(node.orelse))]

    def _for(self, node: ast.For) -> Block:
        body = interval_of(node.body)
        iterator = self._name("i", body or (0, 0))  # without points in the body it is never saved
        item = f"{iterator}n"
        start = ast.If(running(), [assign(iterator, call(ITER, node.iter))], [])
        following = ast.NamedExpr(store(item), call(NEXT, load(iterator), constant(END)))
        test = compare(following, (ast.IsNot(), constant(END)))
        bind: Block = [ast.Assign([node.target], load(item)), assign(item, constant(None))]
        first = all_located([ast.If(running(), bind, [])], node.target)
        return [*all_located([start], node.iter), *self._while(node, body, test, first)]

    # --- try ---------------------------------------------------------------------

    def _try(self, node: ast.Try | ast.TryStar) -> Block:
        if not node.finalbody:
            return self._handlers(node)
        inner: Block = node.body
        if node.handlers:
            inside = copy.copy(node)
            inside.finalbody = []
            inner = [inside]
        finally_interval = interval_of(node.finalbody)
        if finally_interval is not None:
            return self._awaiting_finally(node, inner, finally_interval)
        body = self.block(inner)
        last: Block = [new for statement in node.finalbody for new in self.noted(statement)]
        return [ast.Try(body, [], [], all_located([ast.If(alive(), last, [])], node.finalbody[0]))]

    def _awaiting_finally(self, node: ast.stmt, inner: Block, interval: Interval) -> Block:
        finalbody: Block = getattr(node, "finalbody", [])
        completion = self.new_completion(lambda kind: self._name(kind, interval))
        with self.completing(completion):
            body = self.block(inner)
        replay = self.replayed(completion)
        again = ast.If(heading(interval), replay, [])
        fell = ast.If(running(), [assign(completion.kind, constant(0))], [])
        caught = ast.ExceptHandler(
            constant(BASE_EXCEPTION),
            None,
            [ast.If(running(), completion.record_error(), []), ast.Raise(None, None)],
        )
        cleared = ast.If(running(), completion.cleared(), [])
        last = all_located([ast.If(alive(), [*self.block(finalbody), cleared], [])], finalbody[0])
        return [ast.Try([again, *body, fell], [caught], [], last)]

    def _handlers(self, node: ast.Try | ast.TryStar) -> Block:
        body = self.block(node.body)
        again: Block = []
        handlers: list[ast.ExceptHandler] = []
        for handler in node.handlers:
            interval = interval_of(handler.body)
            if isinstance(node, ast.TryStar) or interval is None:
                handlers.append(self._plain_handler(handler))
                continue
            error = self._name("e", interval)
            raise_again = ast.Expr(call(RERAISE, load(error)))
            again += all_located([ast.If(heading(interval), [raise_again], [])], handler)
            handlers.append(self._awaiting_handler(handler, interval, error))
        orelse = self.block(node.orelse)
        kind = type(node)
        return [kind([*again, *body], handlers, orelse, [])]

    def _plain_handler(self, handler: ast.ExceptHandler) -> ast.ExceptHandler:
        new = copy.copy(handler)
        caught = handler.type or constant(BASE_EXCEPTION)
        new.type = located(ast.IfExp(running(), caught, copied(NO_TYPES)), handler)
        new.body = [made for statement in handler.body for made in self.noted(statement)]
        return new

    def _awaiting_handler(
        self, handler: ast.ExceptHandler, interval: Interval, error: str
    ) -> ast.ExceptHandler:
        """The exception is kept in a saved variable, and the user's name is an ordinary local."""
        otherwise = ast.IfExp(heading(interval), constant(BASE_EXCEPTION), copied(NO_TYPES))
        caught = handler.type or constant(BASE_EXCEPTION)
        arrive: Block = [assign(error, call(EXCEPTION))]
        if handler.name is not None:
            arrive.append(assign(handler.name, load(error)))
        first = ast.If(running(), arrive, [])
        body: Block = [first, *self.block(handler.body)]
        forget: Block = [assign(error, constant(None))]
        if handler.name is None:
            body.append(ast.If(running(), forget, []))
        else:
            unbind: Block = [
                *forget,
                assign(handler.name, constant(None)),
                ast.Delete([ast.Name(handler.name, ast.Del())]),
            ]
            body = [ast.Try(body, [], [], [ast.If(alive(), unbind, [])])]
        new = ast.ExceptHandler(ast.IfExp(running(), caught, otherwise), None, body)
        made: ast.ExceptHandler = located(new, handler)
        return made
