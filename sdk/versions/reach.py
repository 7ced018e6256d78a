"""What a workflow reaches of the user's code, by names: the statements that define it.

Followed are names, attributes of the user's modules, bases, decorators, defaults, annotations and
the values of closures. Where names do not tell (`getattr`, `eval`, `import_module`), the whole
module counts in which that stands. What comes from Python, raysume and installed packages is only
named: a new release of theirs is no new version. Values at run time do not count: a constant is
what its statement says.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.metadata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, Final

from raysume.compiler.awaiting import DYNAMIC, is_library
from raysume.compiler.source import nested_codes
from raysume.versions.canonical import digest_of
from raysume.versions.files import (
    SourceFile,
    file_named,
    imported_module,
    is_module,
    loaded,
    user_file,
)
from raysume.versions.names import Chain, free_names

_HIDING: Final = DYNAMIC | {"importlib"}
"""Names whose use hides what is reached."""

_PLAIN: Final = (str, bytes, int, float, complex, bool, type(None))

Place = tuple[str, int, int]
"""File, line and column."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A statement of one of the user's modules that a workflow reaches."""

    file: SourceFile
    statement: ast.stmt

    @property
    def key(self) -> Place:
        """The same for the same statement."""
        return self.file.module.filename, self.statement.lineno, self.statement.col_offset

    @property
    def digest(self) -> bytes:
        """Of what the statement says."""
        return self.file.digest_of(self.statement)


@dataclass(slots=True)
class Linked:
    """One reached statement, and what the names in it are."""

    reached: Reached
    links: set[tuple[str, bytes]]
    """Each name with the digest of what it names: what the name is called where it is defined
    does not count, nor in which file."""


class Reach:
    """Everything that some functions reach."""

    def __init__(self) -> None:
        self._pending: list[Reached] = []
        self.found: dict[Place, Linked] = {}
        self._closures: set[FunctionType] = set()
        """Functions whose closures were looked through."""
        self.unsourced: set[str] = set()
        """What has no source, told by its code."""

    def add(self, function: FunctionType, owner: type | None) -> None:
        """The function is reached, with all that it reaches.

        Args:
            owner: the class that its `self` is an object of, which need not be where it stands.
        """
        self._function(function)
        if owner is not None:
            self._class(owner)
        while self._pending:
            self._follow(self._pending.pop())

    def digest(self) -> Iterator[bytes]:
        """What is reached, in an order that follows from it alone."""
        parts = [
            one.reached.digest
            + b"".join(name.encode() + b"\0" + to for name, to in sorted(one.links))
            for one in self.found.values()
        ]
        yield from sorted(parts)
        yield from (text.encode() for text in sorted(self.unsourced))

    # --- one thing after the other -------------------------------------------------

    def _reach(self, reached: Reached) -> bytes:
        if reached.key not in self.found:
            self.found[reached.key] = Linked(reached, set())
            self._pending.append(reached)
        return reached.digest

    def _function(self, function: FunctionType) -> bytes:
        code = function.__code__
        file = file_named(code.co_filename, function.__globals__)
        statement = None if file is None else file.statement_at(code.co_firstlineno)
        if file is None or statement is None:
            self.unsourced.add(text := _told_by_code(code))
            return text.encode()
        digest = self._reach(Reached(file, statement))
        if function in self._closures:
            return digest
        self._closures.add(function)
        for cell in function.__closure__ or ():
            with suppress(ValueError):  # it is not bound yet
                list(self._value(cell.cell_contents))
        return digest

    def _class(self, owner: type) -> None:
        file = user_file(owner.__module__)
        statements = file.bindings.get(owner.__qualname__.partition(".")[0], ()) if file else ()
        for statement in statements:
            assert file is not None
            self._reach(Reached(file, statement))
        if not statements:
            list(self._value(owner))

    def _follow(self, reached: Reached) -> None:
        linked = self.found[reached.key]
        names = free_names(reached.statement)
        for chain in names:
            for to in self._resolve(reached.file, chain):
                linked.links.add((".".join(chain), to))
        if any(part in _HIDING for chain in names for part in chain):
            for statement in reached.file.module.tree.body:
                if not isinstance(statement, ast.Import | ast.ImportFrom):
                    self._reach(Reached(reached.file, statement))

    # --- what a name is --------------------------------------------------------------

    def _resolve(self, file: SourceFile, chain: Chain) -> Iterator[bytes]:
        name, rest = chain[0], chain[1:]
        statements = file.bindings.get(name)
        if statements is None:
            yield from self._unbound(file, name, rest)
            return
        for statement in statements:
            match statement:
                case ast.Import():
                    yield from self._import(statement, name, rest)
                case ast.ImportFrom():
                    yield from self._import_from(file, statement, name, rest)
                case _:
                    yield self._reach(Reached(file, statement))

    def _unbound(self, file: SourceFile, name: str, rest: Chain) -> Iterator[bytes]:
        """A name that no statement of the file binds: Python's, of a star, of another cell."""
        for star in file.stars:
            base = imported_module(star, file.names)
            if hasattr(loaded(base), name):
                yield from self._of_module(base, (name, *rest))
        if name in file.names and not file.stars:
            value = file.names[name]
            if not isinstance(value, _PLAIN) or "__file__" not in file.names:
                yield from self._value(value)

    def _value(self, value: Any) -> Iterator[bytes]:
        """What is known by its value alone: from a closure, or from another cell of a notebook, of
        which alone plain values count."""
        from raysume.compiler.definitions import Definition
        from raysume.methods import BoundMethod, Method
        from raysume.workflows import Workflow

        value = value.method if isinstance(value, BoundMethod) else value
        value = getattr(value, "function", value) if _is_ours(value) else value
        if isinstance(value, FunctionType) and not is_library(value.__module__ or ""):
            yield self._function(value)
        elif isinstance(value, type) and not is_library(value.__module__):
            for one in vars(value).values():
                function = getattr(one, "__func__", one)
                if isinstance(function, FunctionType | Definition | Workflow | Method):
                    yield from self._value(function)
        elif isinstance(value, _PLAIN):
            yield digest_of(ast.Constant(value))

    def _import(self, statement: ast.Import, name: str, rest: Chain) -> Iterator[bytes]:
        for alias in statement.names:
            if alias.asname == name:
                yield from self._of_module(alias.name, rest)
            elif alias.asname is None and alias.name.partition(".")[0] == name:
                yield from self._of_module(name, rest)

    def _import_from(
        self, file: SourceFile, statement: ast.ImportFrom, name: str, rest: Chain
    ) -> Iterator[bytes]:
        base = imported_module(statement, file.names)
        for alias in statement.names:
            if (alias.asname or alias.name) == name:
                yield from self._of_module(base, (alias.name, *rest))

    def _of_module(self, name: str, rest: Chain) -> Iterator[bytes]:
        """What is read of the module with this name, or of a module below it."""
        while rest and _is_module_below(name, rest[0]):
            name, rest = f"{name}.{rest[0]}", rest[1:]
        file = user_file(name)
        if file is None:
            yield f"{name} {_version_of(name)} {rest[:1]}".encode()
        elif rest:
            yield from self._resolve(file, rest)
        else:
            for statement in file.module.tree.body:
                yield self._reach(Reached(file, statement))


def _is_module_below(name: str, attribute: str) -> bool:
    """Whether the attribute of a module is a module below it, as long as nothing else has its name."""
    module, below = loaded(name), f"{name}.{attribute}"
    found = loaded(below)
    if found is not None:
        return getattr(module, attribute, found) is found
    return not hasattr(module, attribute) and is_module(below)


def _told_by_code(code: CodeType) -> str:
    """What a function does whose source is not there, without places in memory."""
    return repr(
        [
            (one.co_code, one.co_names, [_told(constant) for constant in one.co_consts])
            for one in (code, *nested_codes(code))
        ]
    )


def _told(constant: Any) -> str:
    if isinstance(constant, CodeType):
        return constant.co_name
    return repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)


def _is_ours(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "raysume"


def _version_of(name: str) -> str:
    """The version of the distribution of an extension: it has no source that could count."""
    file = getattr(loaded(name), "__file__", None) or ""
    if not file.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES)):
        return ""
    top = name.partition(".")[0]
    distributions = importlib.metadata.packages_distributions().get(top, ())
    return ",".join(f"{one} {importlib.metadata.version(one)}" for one in sorted(distributions))
