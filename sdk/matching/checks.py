"""Names in the matches of a workflow, and of what it reads of its calls, checked when it is compiled.

`wait(submit).match(usr="ann")` is refused at import, and so is `call.input.usr` of a call that
was received there, where the method can be found by its name; everything else is checked when
the wait is built or bound.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

from raysume.compiler.syntax import everything_below
from raysume.errors import UsageError
from raysume.matching import atoms, lambdas, paths
from raysume.methods import BoundMethod, Method
from raysume.waits import wait

_UNKNOWN: Any = object()


def check_matches(function: FunctionType) -> None:
    """The names in the function's matches and callbacks, and those it reads of its calls, exist.

    Raises:
        UsageError: one does not; names file, line, and what is near.
    """
    tree = lambdas.definition_of(function)
    if tree is None:
        return
    nodes = list(everything_below(tree))
    names = _names_of(function)
    local = {node.arg for node in nodes if isinstance(node, ast.arg)} | {
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    for call in _matches(nodes):
        method = _method_of(call.func.value, names, local)  # type: ignore[attr-defined]
        if method is not None:
            _check(call, method, f"{function.__code__.co_filename}:{call.lineno}")
    for name, method in _received(nodes, names, local):
        if _is_resolved(method):
            atoms.check_reads(tree, name, method, function.__code__.co_filename)


def _matches(nodes: list[ast.AST]) -> Iterator[ast.Call]:
    for node in nodes:
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("match", "match_if", "after_match")
        ):
            yield node


def _check(call: ast.Call, method: Method, where: str) -> None:
    if not _is_resolved(method):
        return
    name: str = call.func.attr  # type: ignore[attr-defined]
    if name == "match":
        try:
            paths.checked_paths(method, tuple(k.arg for k in call.keywords if k.arg is not None))
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
    elif call.args and isinstance(call.args[0], ast.Lambda):
        atoms.check_names(call.args[0], method, where)


def _is_resolved(method: Method) -> bool:
    """False when an annotation is defined later: then it is checked when the wait is bound."""
    try:
        _ = method.input_model, method.output_type
    except UsageError:
        return False
    return True


def _received(
    nodes: list[ast.AST], names: Mapping[str, Any], local: set[str]
) -> Iterator[tuple[str, Method]]:
    """The variables that hold calls of one method and nothing else: `call = await wait(m)...`."""
    stored = Counter(
        node.id
        for node in nodes
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
    )
    for node in nodes:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.Await(value=value))
                | ast.NamedExpr(target=ast.Name(id=name), value=ast.Await(value=value))
            ) if stored[name] == 1:
                method = _method_of(value, names, local)
                if method is not None:
                    yield name, method
            case _:
                pass


def _method_of(node: ast.expr, names: Mapping[str, Any], local: set[str]) -> Method | None:
    """The method of the wait that a chain of calls begins with, where names tell."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if _value(node.func, names, local) is wait:
            break
        node = node.func.value
    if not isinstance(node, ast.Call) or not node.args:
        return None
    if _value(node.func, names, local) is not wait:
        return None
    found = _value(node.args[0], names, local)
    if isinstance(found, BoundMethod):
        return found.method
    return found if isinstance(found, Method) else None


def _value(node: ast.expr, names: Mapping[str, Any], local: set[str]) -> Any:
    """What a dotted name is now; _UNKNOWN when it is local or not defined yet."""
    if isinstance(node, ast.Name):
        return _UNKNOWN if node.id in local else names.get(node.id, _UNKNOWN)
    if isinstance(node, ast.Attribute):
        owner = _value(node.value, names, local)
        return _UNKNOWN if owner is _UNKNOWN else getattr(owner, node.attr, _UNKNOWN)
    return _UNKNOWN


def _names_of(function: FunctionType) -> dict[str, Any]:
    names = dict(function.__globals__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            names[name] = cell.cell_contents
        except ValueError:
            names[name] = _UNKNOWN
    return names
