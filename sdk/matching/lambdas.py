"""The syntax tree of a lambda, found from its code and verified against it.

Several lambdas may stand on one line, and a file may have changed since it was loaded: a
tree is used only when compiling it gives the very bytecode of the function.
"""

from __future__ import annotations

import ast
import linecache
from types import CodeType, FunctionType
from typing import Any

from raysume import parsing

Node = ast.Lambda | ast.AsyncFunctionDef

_trees: dict[str, tuple[int, dict[int, list[Node]]]] = {}
"""filename -> (hash of its text, lambdas and async functions by first line)."""


def tree_of(function: FunctionType) -> ast.Lambda | None:
    """The lambda's tree; None when there is none that certainly is this function."""
    code = function.__code__
    if code.co_name != "<lambda>":
        return None
    for candidate in _nodes_of(code, function.__globals__).get(code.co_firstlineno, ()):
        if not isinstance(candidate, ast.Lambda):
            continue
        for owner in _class_names(function):
            tree = _mangled(candidate, owner) if owner else candidate
            made = compiled(tree, code.co_freevars, code)
            if made is not None and same_code(made, code):
                return tree
    return None


def definition_of(function: FunctionType) -> ast.AsyncFunctionDef | None:
    """The tree of an `async def`, by its place and name; None when it is not found."""
    code = function.__code__
    for node in _nodes_of(code, function.__globals__).get(code.co_firstlineno, ()):
        if isinstance(node, ast.AsyncFunctionDef) and node.name == code.co_name:
            return node
    return None


def compiled(tree: ast.Lambda, free: tuple[str, ...], like: CodeType) -> CodeType | None:
    """The code of a lambda compiled where the names in `free` are closed over."""
    arguments = ast.arguments(
        posonlyargs=[],
        args=[ast.arg(name) for name in free],
        kwonlyargs=[],
        kw_defaults=[],
        defaults=[],
    )
    plain = ast.Lambda(args=_without_defaults(tree.args), body=tree.body)
    factory = ast.Expression(ast.Lambda(args=arguments, body=plain))
    ast.copy_location(plain, tree)
    ast.fix_missing_locations(factory)
    try:
        made = parsing.compiled(factory, like.co_filename, like.co_flags & 0x1FF0000)
    except (SyntaxError, ValueError, RecursionError):
        return None
    outer = _only_code(made)
    return None if outer is None else _only_code(outer)


def _only_code(code: CodeType) -> CodeType | None:
    found = [const for const in code.co_consts if isinstance(const, CodeType)]
    return found[0] if found else None


def _without_defaults(arguments: ast.arguments) -> ast.arguments:
    return ast.arguments(
        posonlyargs=arguments.posonlyargs,
        args=arguments.args,
        vararg=arguments.vararg,
        kwonlyargs=arguments.kwonlyargs,
        kw_defaults=[None] * len(arguments.kwonlyargs),
        kwarg=arguments.kwarg,
        defaults=[],
    )


def same_code(first: CodeType, second: CodeType) -> bool:
    """Whether two code objects do the same, wherever they stand."""
    same = (
        first.co_code == second.co_code
        and first.co_names == second.co_names
        and first.co_varnames == second.co_varnames
        and set(first.co_freevars) == set(second.co_freevars)
        and first.co_freevars == second.co_freevars
        and first.co_cellvars == second.co_cellvars
        and len(first.co_consts) == len(second.co_consts)
    )
    return same and all(map(_same_constant, first.co_consts, second.co_consts))


def _same_constant(first: Any, second: Any) -> bool:
    if isinstance(first, CodeType):
        return isinstance(second, CodeType) and same_code(first, second)
    return type(first) is type(second) and repr(first) == repr(second)


def _nodes_of(code: CodeType, module_globals: dict[str, Any]) -> dict[int, list[Node]]:
    text = "".join(linecache.getlines(code.co_filename, module_globals))
    known = _trees.get(code.co_filename)
    if known is not None and known[0] == hash(text):
        return known[1]
    found: dict[int, list[Node]] = {}
    try:
        tree = parsing.parsed(text)
    except (SyntaxError, ValueError, RecursionError):
        tree = ast.Module(body=[], type_ignores=[])
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            found.setdefault(node.lineno, []).append(node)
        elif isinstance(node, ast.AsyncFunctionDef):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            found.setdefault(first, []).append(node)
    _trees[code.co_filename] = (hash(text), found)
    return found


def _class_names(function: FunctionType) -> list[str | None]:
    """The classes whose private names the lambda may use, and None for none."""
    parts = function.__qualname__.split(".")
    return [None, *(part for part in reversed(parts[:-1]) if not part.startswith("<"))]


class _Mangler(ast.NodeTransformer):
    def __init__(self, owner: str) -> None:
        self.prefix = "_" + owner.lstrip("_")

    def _name(self, name: str) -> str:
        private = name.startswith("__") and not name.endswith("__") and "." not in name
        return self.prefix + name if private else name

    def visit_Attribute(self, node: ast.Attribute) -> ast.Attribute:
        self.generic_visit(node)
        return ast.copy_location(
            ast.Attribute(value=node.value, attr=self._name(node.attr), ctx=node.ctx), node
        )

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.copy_location(ast.Name(id=self._name(node.id), ctx=node.ctx), node)


def _mangled(tree: ast.Lambda, owner: str) -> ast.Lambda:
    copy = parsing.parsed_expression(ast.unparse(tree))
    mangled: ast.Lambda = _Mangler(owner).visit(copy)
    return ast.copy_location(mangled, tree)
