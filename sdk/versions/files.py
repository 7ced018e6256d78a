"""The user's source files, by the names that they bind."""

from __future__ import annotations

import ast
import functools
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from raysume.compiler.awaiting import is_library
from raysume.compiler.source import ParsedModule, parsed_file
from raysume.compiler.syntax import everything_below
from raysume.versions.canonical import digest_of
from raysume.versions.names import bound_names

_FILES_KEPT: Final = 64
"""Files kept: the workflows of a deployment are looked at one after the other."""


@dataclass(slots=True, eq=False)
class SourceFile:
    """One file: the statements of its module, by what they bind."""

    module: ParsedModule
    names: dict[str, Any]
    """The module's, as they are now."""
    bindings: dict[str, list[ast.stmt]] = field(default_factory=dict[str, list[ast.stmt]])
    """Name -> every statement that binds it, or changes what it is bound to."""
    stars: list[ast.ImportFrom] = field(default_factory=list[ast.ImportFrom])
    _digests: dict[int, bytes] = field(default_factory=dict[int, bytes])

    def __post_init__(self) -> None:
        for statement in _statements(self.module.tree):
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
        for statement in self.module.tree.body:
            first = min(_lines(statement))
            if first <= line <= (statement.end_lineno or first):
                return statement
        return None


_files: OrderedDict[str, SourceFile] = OrderedDict()
_lock = threading.Lock()


def user_file(name: str) -> SourceFile | None:
    """The file of the user's module with this name, imported or not; None when it is no module of
    his, or has no source. Nothing is imported for it."""
    if is_library(name):
        return None
    module = loaded(name)
    if module is not None:
        filename = getattr(module, "__file__", None)
        return None if filename is None else file_named(filename, vars(module))
    place = _place_of(name)
    if place is None or place.suffix != ".py" or "site-packages" in place.parts:
        return None
    package = name if place.name == "__init__.py" else name.rpartition(".")[0]
    return file_named(str(place), _names_before(name, package, str(place)))


def file_named(filename: str, names: dict[str, Any]) -> SourceFile | None:
    """The file with this name, which may be a cell of a notebook; None when there is no source.

    Args:
        names: of the module that was made of it.
    """
    try:
        module = parsed_file(filename, names)
    except (SyntaxError, ValueError, RecursionError):
        return None
    if module is None:
        return None
    with _lock:
        known = _files.get(filename)
        if known is None or known.module is not module or known.names is not names:
            known = _files[filename] = SourceFile(module, names)
        _files.move_to_end(filename)
        while len(_files) > _FILES_KEPT:
            _files.popitem(last=False)
    return known


def is_module(name: str) -> bool:
    """Whether there is a module with this name, imported or not."""
    return loaded(name) is not None or _place_of(name) is not None


def _place_of(name: str) -> Path | None:
    """The file of a module that was not imported, or the folder of a package without one, found
    without importing the packages above it."""
    *above, last = name.split(".")
    folders = [Path(folder, *above) for folder in sys.path]
    for folder in folders:
        for place in (folder / last / "__init__.py", folder / f"{last}.py"):
            if place.is_file():
                return place
    return next((folder / last for folder in folders if (folder / last).is_dir()), None)


@functools.lru_cache(_FILES_KEPT)
def _names_before(name: str, package: str, filename: str) -> dict[str, Any]:
    """What a module has before its first statement."""
    return {"__name__": name, "__package__": package, "__file__": filename}


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


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Those of the module, and the imports that stand in them, wherever: in an `if`, in a function."""
    for statement in tree.body:
        yield statement
        for part in everything_below(statement):
            if isinstance(part, ast.Import | ast.ImportFrom) and part is not statement:
                yield part


def _lines(statement: ast.stmt) -> list[int]:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return [statement.lineno, *(one.lineno for one in decorators)]
