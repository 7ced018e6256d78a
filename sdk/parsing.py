"""Python's parser, one thread at a time.

CPython 3.11 counts how deep it is in a syntax tree in one place for all threads: two that turn
trees into objects, or back, at the same time end in a SystemError ("AST constructor recursion
depth mismatch").
"""

from __future__ import annotations

import ast
import threading
import warnings
from types import CodeType

_lock = threading.RLock()


def parsed(text: str, filename: str = "<unknown>") -> ast.Module:
    """The module's tree. Warnings about it were given when it was imported.

    Raises:
        SyntaxError, ValueError, RecursionError: it is no module that Python can read.
    """
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text, filename)


def parsed_expression(text: str) -> ast.expr:
    """The tree of one expression.

    Raises:
        SyntaxError, ValueError, RecursionError: it is no expression that Python can read.
    """
    with _lock:
        return ast.parse(text, mode="eval").body


def compiled(tree: ast.Module | ast.Expression, filename: str, flags: int = 0) -> CodeType:
    """The code of the tree, with the `from __future__` of these flags and of no others."""
    mode = "eval" if isinstance(tree, ast.Expression) else "exec"
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code: CodeType = compile(tree, filename, mode, flags=flags, dont_inherit=True)
        return code
