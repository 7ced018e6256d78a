"""The source of a function, found in its module and proved to be what was imported.

A function is lowered from source, but runs in the place of its bytecode. So the module's
text is compiled again and the function's own code compared with the result: a file edited
since the import, or code that is not in the file at all, is refused instead of misread.
"""

from __future__ import annotations
import __future__

import ast
import inspect
import linecache
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any, Final

from raysume.compiler.refusals import refusal
from raysume.compiler.syntax import children
from raysume.errors import CompileError
from raysume.parsing import compiled, parsed

AnyDef = ast.FunctionDef | ast.AsyncFunctionDef
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_FUTURE_FLAGS: Final = sum(
    {getattr(__future__, name).compiler_flag for name in __future__.all_feature_names}
)
_MODULES_KEPT: Final = 64
"""Parsed modules kept: a module's functions are compiled one after the other, and looked through
together with the modules that they use when it is deployed."""


@dataclass(slots=True)
class ParsedModule:
    """One version of a file: its text and tree, and its code for comparison."""

    filename: str
    text: str
    tree: ast.Module
    functions: dict[tuple[str, int], tuple[AnyDef, str | None]] = field(init=False)
    """By name and first line, with the class whose private names they mangle."""
    codes: dict[tuple[str, int, bool], list[CodeType]] = field(default_factory=dict)
    """By (qualified name, first line, rewritten by pytest)."""
    compiled: set[bool] = field(default_factory=set[bool])

    def __post_init__(self) -> None:
        self.functions = {(n.name, _first_line(n)): (n, c) for n, c in _functions(self.tree)}


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSource:
    """Where a function stands in its module."""

    filename: str
    node: ast.AsyncFunctionDef
    """Shared with the parsed module: copy before changing it."""
    class_name: str | None
    """The class whose private names the function mangles."""
    flags: int
    """The future flags of the module, for `compile`."""


_modules: OrderedDict[str, ParsedModule] = OrderedDict()
_lock = threading.Lock()
"""Modules may be imported, and functions compiled, in several threads at the same time."""


def source_of(function: FunctionType, *, name: str, trusted: bool = False) -> FunctionSource:
    """The function's place in its source, proved to be what the function was compiled from.

    Args:
        name: how refusals call the function.
        trusted: the function's code was made from this source by the compiler itself.

    Raises:
        CompileError: there is no source, or it is not the function's.
    """
    code = function.__code__
    filename, first_line = code.co_filename, code.co_firstlineno
    module = _parsed(function, name)
    found = module.functions.get((code.co_name, first_line))
    if not found or (not trusted and not _is_compiled_from(function, module)):
        raise refusal("source-changed", name=name, file=filename, line=first_line)
    node, class_name = found
    if not isinstance(node, ast.AsyncFunctionDef):
        raise refusal("not-async", name=name, file=filename, line=node.lineno)
    return FunctionSource(
        filename=filename,
        node=node,
        class_name=class_name,
        flags=code.co_flags & _FUTURE_FLAGS,
    )


def definition_in_file(function: FunctionType) -> AnyDef | None:
    """The `def` or `async def` that stands where the function was defined; None when none does.

    It is not compared with the function's code, as `source_of` does.
    """
    code = function.__code__
    try:
        module = _parsed(function, code.co_name)
    except CompileError:
        return None
    found = module.functions.get((code.co_name, code.co_firstlineno))
    return None if found is None else found[0]


def _parsed(function: FunctionType, name: str) -> ParsedModule:
    filename, line = function.__code__.co_filename, function.__code__.co_firstlineno
    linecache.checkcache(filename)
    try:
        module = parsed_file(filename, function.__globals__)
    except SyntaxError as error:
        raise refusal("source-changed", name=name, file=filename, line=line) from error
    if module is None:
        raise refusal("no-source", name=name, file=filename, line=line)
    return module


def parsed_file(filename: str, names: dict[str, Any]) -> ParsedModule | None:
    """The file, or the cell of a notebook, as it was when it was last looked at; None without text.

    Args:
        names: of the module that was made of it.

    Raises:
        SyntaxError, ValueError, RecursionError: it is no module that Python can read.
    """
    text = "".join(linecache.getlines(filename, names))
    with _lock:
        known = _modules.get(filename)
        if known is not None and known.text == text:
            _modules.move_to_end(filename)
            return known
    if not text:
        return None
    module = ParsedModule(filename, text, parsed(text, filename))
    with _lock:
        _modules[filename] = module
        while len(_modules) > _MODULES_KEPT:
            _modules.popitem(last=False)
    return module


def _functions(tree: ast.AST, class_name: str | None = None) -> Iterator[tuple[AnyDef, str | None]]:
    for child in children(tree):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child, class_name
        inner = child.name if isinstance(child, ast.ClassDef) else class_name
        yield from _functions(child, inner)


def _first_line(node: AnyDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


# --- comparison ------------------------------------------------------------------


def _is_compiled_from(function: FunctionType, module: ParsedModule) -> bool:
    code = function.__code__
    rewriter = _assertion_rewriter(function)
    for rewritten in (False, True) if rewriter is not None else (False,):
        if rewritten not in module.compiled:
            _compile(module, code.co_flags & _FUTURE_FLAGS, rewriter if rewritten else None)
            module.compiled.add(rewritten)
        key = (code.co_qualname, code.co_firstlineno, rewritten)
        if any(same_code(code, other) for other in module.codes.get(key, ())):
            return True
    return False


def _compile(module: ParsedModule, flags: int, rewriter: Any) -> None:
    tree = module.tree
    if rewriter is not None:
        from _pytest.assertion.rewrite import rewrite_asserts

        tree = parsed(module.text, module.filename)
        rewrite_asserts(tree, module.text.encode(), module.filename, rewriter.config)
    for code in nested_codes(compiled(tree, module.filename, flags)):
        key = (code.co_qualname, code.co_firstlineno, rewriter is not None)
        module.codes.setdefault(key, []).append(code)


def _assertion_rewriter(function: FunctionType) -> Any:
    """The loader of the function's module, if it is pytest's assertion rewriter."""
    loader = function.__globals__.get("__loader__")
    if type(loader).__module__ == "_pytest.assertion.rewrite" and hasattr(loader, "config"):
        return loader
    return None


def nested_codes(code: CodeType) -> Iterator[CodeType]:
    """All code objects below this one, outer ones first."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from nested_codes(constant)


def same_code(first: CodeType, second: CodeType) -> bool:
    """Whether both do the same; lines inside the function may differ.

    Not `==`: that is wrong in CPython 3.11 for code which has run and was specialised.
    """
    return (
        first.co_code == second.co_code
        and first.co_names == second.co_names
        and first.co_varnames == second.co_varnames
        and first.co_cellvars == second.co_cellvars
        and first.co_freevars == second.co_freevars
        and first.co_exceptiontable == second.co_exceptiontable
        and first.co_flags == second.co_flags
        and _same_constants(first.co_consts, second.co_consts)
    )


def _same_constants(first: tuple[Any, ...], second: tuple[Any, ...]) -> bool:
    return len(first) == len(second) and all(map(_same_constant, first, second))


def _same_constant(first: Any, second: Any) -> bool:
    if type(first) is not type(second):
        return False
    if isinstance(first, CodeType):
        return same_code(first, second)
    if first.__class__ is tuple:
        return _same_constants(first, second)
    if isinstance(first, frozenset):
        return bool(first == second)
    if isinstance(first, float | complex):
        return repr(first) == repr(second)
    return bool(first == second)


def is_generator(node: ast.AsyncFunctionDef) -> ast.AST | None:
    """The first `yield` of the function itself; None when there is none."""
    pending: list[ast.AST] = list(node.body)
    while pending:
        found = pending.pop()
        if isinstance(found, ast.Yield | ast.YieldFrom):
            return found
        if not isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            pending += children(found)
    return None


def plain_function(function: object, *, name: str) -> FunctionType:
    """The function, if it is a native coroutine function that no decorator replaced.

    Raises:
        CompileError: it is not.
    """
    if not isinstance(function, FunctionType):
        file, line = getattr(sys.modules.get(type(function).__module__), "__file__", "?"), 1
        raise refusal("not-async", name=name, file=str(file), line=line, detail=repr(function))
    code = function.__code__
    where = {"name": name, "file": code.co_filename, "line": code.co_firstlineno}
    if hasattr(function, "__wrapped__"):
        raise refusal("decorator-beneath", **where)  # type: ignore[arg-type]
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise refusal("generator", **where)  # type: ignore[arg-type]
    if not code.co_flags & inspect.CO_COROUTINE:
        raise refusal("not-async", **where)  # type: ignore[arg-type]
    return function
