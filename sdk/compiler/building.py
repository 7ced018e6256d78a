"""Compiles lowered code: one native coroutine function for each durable function.

The function is nested in a factory whose parameters are its captured variables, so that they
become free variables: the cells are made or loaded first, and the function is made on them.
A class of the same name around the factory mangles private names as in the user's class.
"""

from __future__ import annotations

import ast
import dis
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any, Final

from raysume.compiler import syntax
from raysume.compiler.preparation import nested_functions, ordinal_of
from raysume.compiler.syntax import FRAME, PC, SAVED, assign, compare, constant, load, located
from raysume.parsing import compiled

_MARK: Final = 10_000_000
"""Added to the ordinals of nested functions where they stand in for line numbers."""


_LOAD_CONST: Final = dis.opmap["LOAD_CONST"]


def reraise(error: BaseException) -> None:
    """The saved exception is raised again, as it was: with the context it had."""
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context
        error.__traceback__ = None


def visible(names: Any) -> Any:
    """What `locals()` and the like gave, without hidden names."""
    found: Any = names
    if isinstance(names, dict):
        return {name: value for name, value in found.items() if not _is_hidden(name)}
    if isinstance(names, list):
        return [name for name in found if not _is_hidden(name)]
    return found


def _is_hidden(name: object) -> bool:
    return isinstance(name, str) and name.startswith(".")


HIDDEN: Final[dict[str, Any]] = {
    syntax.RERAISE: reraise,
    syntax.EXCEPTION: sys.exception,
    syntax.VISIBLE: visible,
    syntax.END: object(),
    syntax.ITER: iter,
    syntax.NEXT: next,
    syntax.SLICE: slice,
    syntax.BASE_EXCEPTION: BaseException,
    syntax.GENERATOR_EXIT: GeneratorExit,
    syntax.ASSERTION_ERROR: AssertionError,
}
"""The objects behind hidden constants; `enter` is given by the caller."""


def build(
    function: ast.AsyncFunctionDef,
    body: list[ast.stmt],
    *,
    code: CodeType,
    class_name: str | None,
    flags: int,
    restored: list[str],
    enter: Callable[[Any], Any],
) -> tuple[CodeType, tuple[CodeType | None, ...]]:
    """The code of the durable function, and those of its nested functions by ordinal.

    Args:
        function: the user's function, for places.
        body: its lowered statements.
        code: the code of the user's function.
        restored: the local variables that arguments or saved state may bind.
        enter: what every awaited value passes through.

    Raises:
        SyntaxError: Python's compiler refuses the code.
    """
    own = [name for name in code.co_cellvars if name != "__class__"]
    prologue: list[ast.stmt] = [ast.Nonlocal(own)] if own else []
    for name in restored:
        present = compare(constant(name), (ast.In(), load(SAVED)))
        value = ast.Subscript(load(SAVED), constant(name), ast.Load())
        prologue.append(ast.If(present, [assign(name, value)], []))
    prologue.append(assign(SAVED, constant(None)))
    made = ast.AsyncFunctionDef(
        name=function.name,
        args=_parameters([FRAME, PC, SAVED]),
        body=[*prologue, *body],
        decorator_list=[],
        returns=None,
    )
    captured = list(dict.fromkeys((*code.co_cellvars, *code.co_freevars)))
    factory = ast.FunctionDef("factory", _parameters(captured), [made], [], None)
    top: ast.stmt = factory
    if class_name is not None:
        top = ast.ClassDef(class_name, [], [], [factory], [])
    module = ast.Module([located(top, function)], [])
    found = _function_code(module, code.co_filename, flags, depth=2 if class_name is None else 3)
    found = _renamed(found, found.co_qualname, code.co_qualname)
    nested: tuple[CodeType | None, ...] = ()
    if nested_functions(function):
        nested = _nested(found, module, code.co_filename, flags, 2 if class_name is None else 3)
    return _with_hidden(found, {**HIDDEN, syntax.ENTER: enter}), nested


def build_binder(
    function: FunctionType, node: ast.AsyncFunctionDef, class_name: str | None
) -> CodeType:
    """The code of a function with the user's parameters that returns the arguments by name."""
    given = node.args
    arguments = ast.arguments(
        posonlyargs=[ast.arg(a.arg) for a in given.posonlyargs],
        args=[ast.arg(a.arg) for a in given.args],
        vararg=None if given.vararg is None else ast.arg(given.vararg.arg),
        kwonlyargs=[ast.arg(a.arg) for a in given.kwonlyargs],
        kw_defaults=[None for _ in given.kwonlyargs],
        kwarg=None if given.kwarg is None else ast.arg(given.kwarg.arg),
        defaults=[],
    )
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None]
    code = function.__code__
    names = dict(zip([a.arg for a in every], code.co_varnames, strict=False))
    values = ast.Dict([constant(m) for m in names.values()], [load(n) for n in names])
    made: ast.stmt = ast.FunctionDef(node.name, arguments, [ast.Return(values)], [], None)
    if class_name is not None:
        made = ast.ClassDef(class_name, [], [], [made], [])
    module = ast.Module([located(made, node)], [])
    binder = _function_code(module, code.co_filename, 0, depth=1 if class_name is None else 2)
    return binder.replace(co_qualname=code.co_qualname)


def _parameters(names: list[str]) -> ast.arguments:
    return ast.arguments([], [ast.arg(name) for name in names], None, [], [], None, [])


def _function_code(module: ast.Module, filename: str, flags: int, depth: int) -> CodeType:
    code = compiled(module, filename, flags)
    for _ in range(depth):
        code = next(inner for inner in code.co_consts if isinstance(inner, CodeType))
    return code


def _renamed(code: CodeType, old: str, new: str) -> CodeType:
    """The code and all below it as if it had been compiled at its user's place."""
    name = code.co_qualname
    renamed = new + name[len(old) :] if name == old or name.startswith(f"{old}.") else name
    constants: list[Any] = []
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            inner = _renamed(inner, old, new)
        elif inner == name and isinstance(inner, str):
            inner = renamed  # a class body names itself
        constants.append(inner)
    return code.replace(co_consts=tuple(constants), co_qualname=renamed)


def _with_hidden(code: CodeType, hidden: dict[str, Any]) -> CodeType:
    constants = tuple(
        hidden.get(inner, inner) if isinstance(inner, str) else inner for inner in code.co_consts
    )
    return code.replace(co_consts=constants)


# --- nested functions ------------------------------------------------------------


def _nested(
    code: CodeType, module: ast.Module, filename: str, flags: int, depth: int
) -> tuple[CodeType | None, ...]:
    """The codes of nested functions by ordinal: compiled once more with ordinals for lines.

    Line and name do not tell two lambdas of one line apart; the order of their creation in
    two compilations of the same tree does.
    """
    marked = [
        (node, number)
        for node in syntax.everything_below(module)
        if (number := ordinal_of(node)) is not None
    ]
    if not marked:
        return ()
    for node, number in marked:
        places: list[Any] = [*getattr(node, "decorator_list", [])[:1], node]
        for place in places:
            place.lineno = place.end_lineno = _MARK + number
            place.col_offset, place.end_col_offset = 0, 0
    twin = _function_code(module, filename, flags, depth)
    found: list[CodeType | None] = [None] * (1 + max(number for _, number in marked))
    for real, mark in _pairs(code, twin):
        number = mark.co_firstlineno - _MARK
        if number >= 0 and found[number] is None:
            found[number] = real
    return tuple(found)


def _pairs(first: CodeType, second: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    ours, theirs = _created(first), _created(second)
    if len(ours) != len(theirs):
        raise SyntaxError("two compilations of one function differ")
    for real, mark in zip(ours, theirs, strict=True):
        yield real, mark
        yield from _pairs(real, mark)


def _created(code: CodeType) -> list[CodeType]:
    """The codes that the code makes functions or classes of, in the order of its instructions."""
    created: list[CodeType] = []
    extended = 0
    for operation, argument in zip(code.co_code[::2], code.co_code[1::2], strict=True):
        if operation == dis.EXTENDED_ARG:
            extended = (extended | argument) << 8
            continue
        if operation == _LOAD_CONST:
            loaded = code.co_consts[extended | argument]
            if isinstance(loaded, CodeType):
                created.append(loaded)
        extended = 0
    return created
