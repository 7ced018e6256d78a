"""A form of source code that holds what it does, and nothing of how it is written down.

Lines, comments, formatting, docstrings and the notation of literals are not in it. It is made of
the names of Python's grammar and not of what a release of Python makes of them, so that it is the
same under the next one: fields that are empty, which releases add, are left out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any, Final

DIGEST_BYTES: Final = 16

_UNSEEN: Final = frozenset(
    (
        *("ctx", "kind", "type_comment", "type_ignores"),
        *("lineno", "col_offset", "end_lineno", "end_col_offset"),
    )
)
"""Fields that say how something is written, or follow from the rest."""

_DOCUMENTED: Final = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def digest_of(*nodes: ast.AST) -> bytes:
    """The digest of the nodes' canonical forms, in this order."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    for node in nodes:
        for token in tokens(node):
            digest.update(len(token).to_bytes(8, "big"))
            digest.update(token)
    return digest.digest()


def tokens(node: ast.AST) -> Iterator[bytes]:
    """The canonical form, token by token. Not recursive: expressions may nest deeper than calls."""
    pending: list[Any] = [node]
    while pending:
        one = pending.pop()
        if isinstance(one, bytes):
            yield one
        elif isinstance(one, ast.Constant):
            yield from _constant(one.value)
        elif isinstance(one, ast.AST):
            yield b"(" + type(one).__name__.encode()
            pending.append(b")")
            for name, value in reversed(list(_fields(one))):
                pending += (value, b"." + name.encode())
        elif isinstance(one, list):
            yield b"["
            pending.append(b"]")
            pending += reversed(one)
        else:
            yield from _constant(one)


def _fields(node: ast.AST) -> Iterator[tuple[str, Any]]:
    for name, value in ast.iter_fields(node):
        if name in _UNSEEN or value is None or value == []:
            continue
        if name == "body" and isinstance(node, _DOCUMENTED):
            value = _undocumented(value)
        elif isinstance(node, ast.JoinedStr):
            value = _joined(value)
        if value != []:
            yield name, value


def _undocumented(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    """The body without its docstring."""
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            return rest
        case _:
            return list(body)


def _joined(values: Sequence[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string, of which no two in a row are texts: releases part them differently."""
    found: list[ast.expr] = []
    for value in values:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            before = found[-1] if found else None
            if isinstance(before, ast.Constant):
                found[-1] = ast.Constant(str(before.value) + value.value)
            elif value.value:
                found.append(value)
        else:
            found.append(value)
    return found


def _constant(value: Any) -> Iterator[bytes]:
    yield b"=" + type(value).__name__.encode()
    match value:
        case bool() | None:
            yield repr(value).encode()
        case str():
            yield value.encode("utf-8", "surrogatepass")
        case bytes():
            yield value
        case int():
            yield hex(value).encode()
        case float():
            yield value.hex().encode()
        case complex():
            yield f"{value.real.hex()} {value.imag.hex()}".encode()
        case _:  # an ellipsis
            yield b""
