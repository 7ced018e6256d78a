"""Further rules about what is written in a workflow."""

from __future__ import annotations

import ast
import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence

from raysume.compiler import syntax
from raysume.linting.findings import Finding, Severity
from raysume.linting.scopes import Scope
from raysume.linting.written_waits import (
    MATCHES,
    WrittenWait,
    is_awaited,
    is_unconditional,
    name_of,
)

_ERROR: Severity = "error"
_WARNING: Severity = "warning"
_SHORT_S = 1.0
"""Seconds below which an `asyncio.sleep` is taken to be meant."""


def without_match(written: WrittenWait, workflow: str) -> Finding | None:
    """A wait says neither what it matches nor that it matches everything.

    Only the first wait of a workflow that calls start may do so. What the compiler refuses is told
    by it, under the same name; it does not look at how the workflow is started.
    """
    scope = written.scope
    if written.named(*MATCHES) or not is_awaited(scope, written.node):
        return None
    urn = written.method.urn
    if scope.starts and not scope.comes_behind_wait(written.node):
        rule, severity = "first-wait-without-match", _WARNING
        message = f"the first wait, for {urn!r}, has no match: every call starts an instance."
        remedy = "Say so with .match_any(), or add .match(...)."
    else:
        rule, severity = "later-wait-without-match", _ERROR
        message = (
            f"the wait for {urn!r} says nothing about which call, and no call starts an instance "
            "there: instances fail when they come to it."
        )
        remedy = (
            "Add .match(field=value) or .match_if(lambda call: ...), or .match_any() for every "
            "call."
        )
    return Finding.at(
        written.node,
        rule,
        severity,
        file=scope.file,
        workflow=workflow,
        message=message,
        remedy=remedy,
    )


def from_now_in_loop(written: WrittenWait, workflow: str) -> Finding | None:
    """A wait in a loop does not look at calls that come while the loop's body runs."""
    said = written.named("from_now", "since")
    if not said or name_of(said[-1]) != "from_now" or not written.scope.is_in_loop(written.node):
        return None
    return Finding.at(
        written.node,
        "from-now-in-loop",
        "warning",
        file=written.scope.file,
        workflow=workflow,
        message=f"the wait for {written.method.urn!r} is made anew in a loop, and calls that are "
        "accepted between two rounds, while the instance does something else, never meet it.",
        remedy="Leave .from_now() out: an instance receives a call at most once anyway. Where "
        "such calls are to be missed, allow it with a comment.",
    )


def match_without_effect(written: WrittenWait, workflow: str) -> Iterator[Finding]:
    """A match is replaced by another one of the same wait, or says nothing beside it."""
    steps = written.named("match_if")
    for earlier, later in itertools.pairwise(steps):
        if is_unconditional(later):
            yield _without_effect(
                written,
                workflow,
                f"`.match_if({_arguments(earlier)})` is replaced by the .match_if behind it: of "
                "several the last one counts.",
                "Write one lambda with `and`, or leave the first out.",
            )
    fields = written.named("match")
    if written.named("match_any") and (fields or any(map(is_unconditional, steps))):
        yield _without_effect(
            written,
            workflow,
            ".match_any() says nothing beside another match, which decides alone.",
            "Leave .match_any() out, or the other match.",
        )


def _without_effect(written: WrittenWait, workflow: str, message: str, remedy: str) -> Finding:
    return Finding.at(
        written.node,
        "match-without-effect",
        "warning",
        file=written.scope.file,
        workflow=workflow,
        message=message,
        remedy=remedy,
    )


def _arguments(step: ast.Call) -> str:
    given = [*step.args, *step.keywords]
    return ", ".join(map(ast.unparse, given))


def sleeps_not_durable(scopes: Sequence[Scope], workflow: str) -> Iterator[Finding]:
    """A workflow or subflow sleeps by other means than `raysume.sleep`."""
    for scope in scopes:
        for node in _calls_in_durable_code(scope):
            called = scope.value(node.func)
            if called is asyncio.sleep and not _is_short(node):
                yield _sleep(
                    scope,
                    node,
                    workflow,
                    "`asyncio.sleep` keeps the instance in memory and saves nothing: when its "
                    "process ends, the time begins anew, and what was done since the last wait is "
                    "done again.",
                )
            elif called is time.sleep:
                yield _sleep(
                    scope,
                    node,
                    workflow,
                    "`time.sleep` stops all instances of the pool, and saves nothing.",
                )


def _calls_in_durable_code(scope: Scope) -> Iterator[ast.Call]:
    """The calls in a workflow or subflow and in the subflows inside it; a plain function may be a
    step, which may sleep."""
    if scope.definition is None:
        return
    inside = [
        part
        for part in syntax.everything_below(scope.node)
        if isinstance(part, ast.AsyncFunctionDef) and scope.names.is_subflow(part)
    ]
    for function in {id(each): each for each in (scope.node, *inside)}.values():
        for statement in function.body:
            for node in syntax.own_scope(statement):
                if isinstance(node, ast.Call):
                    yield node


def _is_short(node: ast.Call) -> bool:
    match node.args:
        case [ast.Constant(value=int() | float() as delay_s), *_]:
            return delay_s < _SHORT_S
        case _:
            return False


def _sleep(scope: Scope, node: ast.Call, workflow: str, message: str) -> Finding:
    return Finding.at(
        node,
        "sleep-not-durable",
        "warning",
        file=scope.file,
        workflow=workflow,
        message=message,
        remedy="Write `await sleep(timedelta(seconds=...))`, with `sleep` from raysume.",
    )
