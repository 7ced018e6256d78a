"""How a `finally` that waits remembers why it runs, and goes on with that when it is entered.

A `finally` runs because its body fell through, raised, or left by return, break or continue.
Python keeps that on its stack; here every exit of the body notes it in saved variables, and
entering the `finally` again repeats the exit from inside the `try`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from raysume.compiler.syntax import (
    EXCEPTION,
    RERAISE,
    all_located,
    assign,
    call,
    compare,
    constant,
    copied,
    everything_below,
    load,
)

Block = list[ast.stmt]

FELL, RAISED, RETURNED, BROKE, CONTINUED = range(5)
"""Why a `finally` runs; 0 means that its body fell through."""


@dataclass(slots=True, kw_only=True)
class Completion:
    """The saved variables of one `finally`."""

    kind: str
    error: str
    value: str
    seen: set[int] = field(default_factory=set[int])
    """Exits that the body has, so that only those are repeated."""

    def record_error(self) -> Block:
        """The exception being handled is why the `finally` runs."""
        return [assign(self.kind, constant(RAISED)), assign(self.error, call(EXCEPTION))]

    def cleared(self) -> Block:
        """Nothing is kept alive any more."""
        return [assign(self.error, constant(None)), assign(self.value, constant(None))]


_LOOP: Final = object()


class Completions:
    """Notes exits in the variables of every `finally` that they pass."""

    def __init__(self) -> None:
        self._around: list[Completion | object] = []
        self._returns = 0

    def new_completion(self, name: Callable[[str], str]) -> Completion:
        """The variables of another `finally`."""
        return Completion(kind=name("k"), error=name("x"), value=name("v"))

    @contextmanager
    def completing(self, completion: Completion) -> Generator[None]:
        """Exits from the code made in the block pass the completion's `finally`."""
        self._around.append(completion)
        yield
        self._around.pop()

    @contextmanager
    def in_loop(self) -> Generator[None]:
        """The code made in the block is the body of a loop."""
        self._around.append(_LOOP)
        yield
        self._around.pop()

    def noted(self, node: ast.stmt) -> Block:
        """The statement, in which no point stands, with its exits noted where that matters."""
        if not any(isinstance(around, Completion) for around in self._around):
            return [node]
        return as_block(_Noting(self).visit(copied(node) if _has_exit(node) else node))

    def replayed(self, completion: Completion) -> Block:
        """Statements that repeat the noted exit, outside of `completing`."""
        out: Block = []
        repeat: dict[int, Block] = {RAISED: [ast.Expr(call(RERAISE, load(completion.error)))]}
        if RETURNED in completion.seen:
            repeat[RETURNED] = self.returned(ast.Return(load(completion.value)))
        if BROKE in completion.seen:
            repeat[BROKE] = self.left(ast.Break())
        if CONTINUED in completion.seen:
            repeat[CONTINUED] = self.left(ast.Continue())
        for kind, statements in repeat.items():
            test = compare(load(completion.kind), (ast.Eq(), constant(kind)))
            out.append(ast.If(test, statements, []))
        return out

    def returned(self, node: ast.Return) -> Block:
        """The return, noted in every `finally` around it."""
        passed = [around for around in self._around if isinstance(around, Completion)]
        if not passed:
            return [node]
        self._returns += 1
        value = f".return{self._returns}"
        out: Block = [assign(value, node.value or constant(None))]
        for completion in passed:
            completion.seen.add(RETURNED)
            out.append(assign(completion.kind, constant(RETURNED)))
            out.append(assign(completion.value, load(value)))
        return [*out, ast.Return(load(value))]

    def left(self, node: ast.Break | ast.Continue) -> Block:
        """The break or continue, noted in every `finally` up to its loop."""
        kind = BROKE if isinstance(node, ast.Break) else CONTINUED
        out: Block = []
        for around in reversed(self._around):
            if not isinstance(around, Completion):
                break
            around.seen.add(kind)
            out.append(assign(around.kind, constant(kind)))
        return [*out, node]


def as_block(made: Any) -> Block:
    """What a transformer made of a statement, as a list."""
    return made if made.__class__ is list else [made]


def _has_exit(node: ast.AST) -> bool:
    return any(isinstance(n, ast.Return | ast.Break | ast.Continue) for n in everything_below(node))


class _Noting(ast.NodeTransformer):
    def __init__(self, completions: Completions) -> None:
        self._completions = completions
        self._loops = 0

    def visit(self, node: ast.AST) -> Any:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda() | ast.ClassDef():
                return node
            case ast.expr():
                return node
            case ast.While() | ast.For() | ast.AsyncFor():
                self._loops += 1
                node.body = [made for part in node.body for made in self._all(part)]
                self._loops -= 1
                node.orelse = [made for part in node.orelse for made in self._all(part)]
                return node
            case ast.Return():
                return all_located(self._completions.returned(node), node)
            case ast.Break() | ast.Continue():
                return node if self._loops else all_located(self._completions.left(node), node)
            case _:
                return super().visit(node)

    def _all(self, node: ast.stmt) -> Block:
        return as_block(self.visit(node))
