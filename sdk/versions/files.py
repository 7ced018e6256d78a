"""The user's source files, by the names that they bind."""

from __future__ import annotations

import ast
import linecache
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

from raysume.parsing import parsed
from raysume.versions.canonical import digest_of
from raysume.versions.names import bound_names

_FILES_KEPT: Final = 64
"""Parsed files kept: the workflows of a deployment are looked at one after the other."""


@dataclass(slots=True, eq=False)
class SourceFile:
    """One file: the statements of its module, by what they bind."""

    filename: str
    text: str
    tree: ast.Module
    names: dict[str, Any]
    """The module's, as they are now."""
    bindings: dict[str, list[ast.stmt]] = field(default_factory=dict[str, list[ast.stmt]])
    """Name -> every statement that binds it, or changes what it is bound to."""
    stars: list[ast.ImportFrom] = field(default_factory=list[ast.ImportFrom])
    _digests: dict[int, bytes] = field(default_factory=dict[int, bytes])

    def __post_init__(self) -> None:
        for statement in _statements(self.tree.body):
            if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
                self.stars.append(statement)
                continue
            for name in bound_names(statement):
                self.bindings.setdefault(name, []).append(statement)

    def digest_of(self, statement: ast.stmt) -> bytes:
        """The digest of one of its statements."""
        known = self._digests.get(id(statement))
        if known is None:
            known = self._digests[id(statement)] = digest_of(statement)
        return known

    def statement_at(self, line: int) -> ast.stmt | None:
        """The statement of the module that reaches over the line; None when none does."""
        for statement in self.tree.body:
            first = min(_lines(statement))
            if first <= line <= (statement.end_lineno or first):
                return statement
        return None


_files: OrderedDict[str, SourceFile] = OrderedDict()
_lock = threading.Lock()


def file_of(module: ModuleType) -> SourceFile | None:
    """The file of a module; None when it has no source."""
    filename = getattr(module, "__file__", None)
    return None if filename is None else file_named(filename, vars(module))


def file_named(filename: str, names: dict[str, Any]) -> SourceFile | None:
    """The file with this name, which may be a cell of a notebook; None when there is no source.

    Args:
        names: of the module that was made of it.
    """
    linecache.checkcache(filename)
    text = "".join(linecache.getlines(filename, names))
    with _lock:
        known = _files.get(filename)
        if known is not None and known.text == text and known.names is names:
            _files.move_to_end(filename)
            return known
    try:
        made = SourceFile(filename, text, parsed(text, filename), names) if text else None
    except (SyntaxError, ValueError, RecursionError):
        return None
    if made is not None:
        with _lock:
            _files[filename] = made
            while len(_files) > _FILES_KEPT:
                _files.popitem(last=False)
    return made


def imported_module(statement: ast.ImportFrom, names: dict[str, Any]) -> str:
    """The full name of the module that the statement imports from.

    Args:
        names: of the module that it stands in.
    """
    if not statement.level:
        return statement.module or ""
    package: str = names.get("__package__") or names.get("__name__", "").rpartition(".")[0]
    for _ in range(statement.level - 1):
        package = package.rpartition(".")[0]
    return f"{package}.{statement.module}" if statement.module else package


def loaded(name: str) -> ModuleType | None:
    """The module with this name, if it was imported."""
    found = sys.modules.get(name)
    return found if isinstance(found, ModuleType) else None


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Those of a module. An `if` or `try` counts as a whole, but for imports that stand in it."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try | ast.TryStar | ast.With):
            for part in ast.walk(statement):
                if isinstance(part, ast.Import | ast.ImportFrom):
                    yield part


def _lines(statement: ast.stmt) -> list[int]:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return [statement.lineno, *(one.lineno for one in decorators)]
