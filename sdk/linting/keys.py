"""The rule `wait-without-key`: waits that no index finds.

Whether a wait has a key is decided by the code that decides it when the wait is made.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from types import FunctionType
from typing import Any, Final, cast

from pydantic import BaseModel

from raysume.compiler import syntax
from raysume.compiler.durability import UNKNOWN
from raysume.errors import UsageError
from raysume.linting.findings import Finding, Severity
from raysume.linting.scopes import Scope
from raysume.linting.written_waits import (
    WrittenWait,
    function_of,
    is_unconditional,
    predicates_of,
)
from raysume.matching import foreseen_shape, paths
from raysume.methods import Method

_FIELDS_SHOWN_MAX: Final = 4
_RULE: Final = "wait-without-key"


def without_key(written: WrittenWait, workflow: str) -> Finding | None:
    """The finding about a wait that has no key; None when it has one, needs none, or cannot be
    judged.

    The first wait of a workflow that calls start needs none: one predicate stands for the whole
    workflow, whatever the number of its instances.
    """
    if written.is_open or not written.named("match", "match_if", "match_any"):
        return None
    if written.scope.starts and not written.scope.is_repeated(written.node):
        return None
    if not written.named("match", "match_if"):
        return _matching_any(written, workflow)
    conditions = written.named("match_if")
    possible: list[ast.expr | None] = [*predicates_of(written)]
    if written.named("match") and not any(map(is_unconditional, conditions)):
        possible.append(None)  # no condition may be set: then only the fields count
    for predicate in possible:
        if _is_keyless(written, predicate):
            return _found(written, predicate, workflow)
    return None


def _is_keyless(written: WrittenWait, predicate: ast.expr | None) -> bool:
    """Whether the wait certainly has no key when this is its predicate."""
    function = None if predicate is None else function_of(written.scope, predicate)
    known = function if isinstance(function, FunctionType) else None
    made = written.made(known)
    try:
        return made is not None and function is not UNKNOWN and not foreseen_shape(made)
    except UsageError:  # refused when the wait is made
        return False


def _matching_any(written: WrittenWait, workflow: str) -> Finding | None:
    if written.named("exclusive"):
        return None  # a queue: each call goes to one instance, whichever
    urn = written.method.urn
    return _finding(
        written,
        "info",
        workflow,
        f"every call of {urn!r} goes to every instance that waits here: .match_any() gives no key.",
        f"Nothing, if all of them are to go on. Else say which: {_how(written.method)}",
    )


def _found(written: WrittenWait, predicate: ast.expr | None, workflow: str) -> Finding:
    urn, why = written.method.urn, "; ".join(_reasons(written, predicate))
    if _is_instance_specific(written, predicate):
        return _finding(
            written,
            "warning",
            workflow,
            f"the wait for {urn!r} has no key, so every call of it is checked against each "
            f"distinct predicate that instances wait with: {why}.",
            _sentence(_how(written.method)),
        )
    return _finding(
        written,
        "info",
        workflow,
        f"the wait for {urn!r} has no key: {why}. Its predicate reads none of the workflow's "
        "variables, so it is evaluated once for each call, and a call that meets it goes to every "
        "instance that waits here.",
        f"Nothing, if all of them are to go on. Else say which: {_how(written.method)}",
    )


def _finding(
    written: WrittenWait, severity: Severity, workflow: str, message: str, remedy: str
) -> Finding:
    return Finding.at(
        written.node,
        _RULE,
        severity,
        file=written.scope.file,
        workflow=workflow,
        message=message,
        remedy=remedy,
    )


# --- whether predicates differ from instance to instance ----------------------------


def _is_instance_specific(written: WrittenWait, predicate: ast.expr | None) -> bool:
    """Whether the match reads variables of the instance, so that instances wait with predicates
    of their own."""
    scope = written.scope
    fields = (each.value for step in written.named("match") for each in step.keywords)
    if not all(isinstance(each, ast.Constant) for each in fields):
        return True
    match predicate:
        case ast.Lambda(args=arguments, body=body):
            given = any(_reads_variables(scope, each, set()) for each in arguments.defaults)
            return given or _reads_variables(scope, body, _names_in(arguments))
        case ast.Name(id=name):
            return any(
                _reads_variables(scope, part, _names_in(part.args))
                for part in syntax.everything_below(scope.node)
                if isinstance(part, ast.FunctionDef) and part.name == name
            )
        case _:
            return False


def _reads_variables(scope: Scope, node: ast.AST, own: set[str]) -> bool:
    """Whether something below the node is a variable of the function.

    Args:
        own: names that mean something else there.
    """
    around = set(scope.function.__code__.co_freevars)
    names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return any(scope.is_local(name) for name in names - own - around)


def _names_in(arguments: ast.arguments) -> set[str]:
    return {part.arg for part in ast.walk(arguments) if isinstance(part, ast.arg)}


# --- why there is no key, and how to get one ----------------------------------------


def _reasons(written: WrittenWait, predicate: ast.expr | None) -> Iterator[str]:
    if predicate is None:
        yield "no field of .match(...) has a value that can be looked up"
        return
    if not isinstance(predicate, ast.Lambda):
        function = function_of(written.scope, predicate)
        if isinstance(function, FunctionType) and function.__name__ == "<lambda>":
            yield f"`{ast.unparse(predicate)}` implies no equality"
            return
        yield f"`{ast.unparse(predicate)}` is no lambda, and only lambdas are looked into"
        return
    if any(isinstance(part, ast.NamedExpr) for part in ast.walk(predicate)):
        yield "a lambda with `:=` is not looked into"
        return
    name = predicate.args.args[0].arg if predicate.args.args else ""
    for conjunct in _conjuncts(predicate.body):
        yield f"`{ast.unparse(conjunct)}` {_why(conjunct, name, written.method)}"


def _conjuncts(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        for value in node.values:
            yield from _conjuncts(value)
    else:
        yield node


def _why(node: ast.expr, call: str, method: Method) -> str:
    match node:
        case ast.Compare(ops=operators) if any(
            isinstance(each, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for each in operators
        ):
            return "is compared one by one or by range"
        case ast.Compare(left=left, ops=[ast.Eq() | ast.In()], comparators=[right]):
            return _why_no_equality(left, right, call)
        case ast.BoolOp(op=ast.Or()):
            return "does not need any single one of its parts to hold"
        case _ if _is_bool(node, call, method):
            return "only divides the calls in two"
        case _:
            return "is no equality"


def _why_no_equality(left: ast.expr, right: ast.expr, call: str) -> str:
    if any(isinstance(each, ast.Constant) and each.value is None for each in (left, right)):
        return "asks for None, which is no part of keys"
    if _mentions(left, call) and _mentions(right, call):
        return "compares the call with itself"
    if not _mentions(left, call) and not _mentions(right, call):
        return "does not look at the call"
    return "asks for a value that cannot be looked up"


def _mentions(node: ast.expr, call: str) -> bool:
    return any(isinstance(part, ast.Name) and part.id == call for part in ast.walk(node))


def _is_bool(node: ast.expr, call: str, method: Method) -> bool:
    while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        node = node.operand
    text = ast.unparse(node)
    path = paths.parsed(text.removeprefix(f"{call}.")) if text.startswith(f"{call}.") else None
    return path is not None and paths.leaf_type(method, path) is bool


def _how(method: Method) -> str:
    """How an equality on a field of the method's input is written."""
    fields = list(_equality_fields(method))
    if not fields:
        return (
            "add an equality on a field of the call; its input has none that can be looked up, so "
            "give it one first, e.g. an id."
        )
    first = fields[0]
    shown = ", ".join(fields[:_FIELDS_SHOWN_MAX]) + (
        ", ..." if len(fields) > _FIELDS_SHOWN_MAX else ""
    )
    return (
        f"add an equality on a field of the call: `call.input.{first} == value and ...`, or "
        f".match({first.replace('.', '__')}=value). Its input has: {shown}."
    )


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _equality_fields(method: Method) -> Iterator[str]:
    """The fields of the method's input, to a depth of two, that can be parts of a key."""
    for name in method.parameters:
        hint = paths.member(method.input_model, ("attribute", name))
        if _is_key_type(hint):
            yield name
        else:
            for below in _members_of(paths.unwrapped(hint)):
                if _is_key_type(paths.member(hint, ("attribute", below))):
                    yield f"{name}.{below}"


def _is_key_type(hint: Any) -> bool:
    is_known = hint is not paths.OPAQUE and hint is not paths.MISSING
    return is_known and paths.unwrapped(hint) is not bool and paths.has_known_equality(hint)


def _members_of(hint: Any) -> list[str]:
    """The names of a model's or dataclass's fields; none for other types."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return list(hint.__pydantic_fields__)
    owner = cast(Any, hint)
    return (
        [one.name for one in dataclasses.fields(owner)] if dataclasses.is_dataclass(owner) else []
    )
