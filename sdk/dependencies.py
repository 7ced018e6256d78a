"""`Depends(factory)`: parameters of workflows and subflows that are made anew, never saved.

Connections, clients and the like are no state: an instance that is loaded again gets new ones.
What the compiler leaves out of saved state, and puts in again, is in
`raysume.compiler.giving`; here is what the author writes and a test replaces.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Generator, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar, cast

T = TypeVar("T")

_replaced: ContextVar[Mapping[Any, Callable[[], Any]] | None] = ContextVar(
    "raysume_dependencies", default=None
)
"""factory -> what is called instead, while a test replaces it."""


class Dependency:
    """The default of a parameter whose value a factory makes."""

    __slots__ = ("_needs", "factory")

    def __init__(self, factory: Callable[[], Any]) -> None:
        self.factory = factory
        self._needs = _checked(factory)

    def make(self) -> Any:
        """A new value; made by the stand-in where a test replaced the factory."""
        replaced = _replaced.get()
        if replaced is not None and self.factory in replaced:
            return replaced[self.factory]()
        if not self._needs:
            return self.factory()
        needed = {name: inner.make() for name, inner in self._needs.items()}
        return cast(Any, self.factory)(**needed)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Dependency, (self.factory,))

    def __repr__(self) -> str:
        return f"Depends({getattr(self.factory, '__qualname__', self.factory)})"


def Depends(factory: Callable[..., T]) -> T:
    """The default of a parameter that is not state: `mail: Mailer = Depends(get_mailer)`.

    The factory is called when the workflow or subflow begins, and again whenever its instance
    is loaded. What it returned is never saved, wherever it is kept: in variables, closures,
    arguments, attributes.

    Args:
        factory: a plain function or class without required parameters; it may itself have
            parameters with `Depends`.

    Raises:
        CompileError: the factory is asynchronous, a generator, or needs arguments.
    """
    return cast(T, Dependency(factory))


@contextlib.contextmanager
def dependencies_replaced(stand_ins: Mapping[Any, Callable[[], Any]]) -> Generator[None]:
    """Inside the block, these stand-ins are called instead of the factories that are the keys."""
    token = _replaced.set(stand_ins)
    try:
        yield
    finally:
        _replaced.reset(token)


def _checked(factory: Any) -> dict[str, Dependency]:
    """The factory's own dependencies by parameter, once it is known to be one."""
    if not callable(factory):
        _refuse(factory, "dependency-factory", f"it was given {factory!r}")
    called = factory if inspect.isroutine(factory) else getattr(factory, "__call__", factory)  # noqa: B004
    if inspect.iscoroutinefunction(called):
        _refuse(factory, "dependency-async")
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        _refuse(factory, "dependency-generator")
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (ValueError, TypeError):  # built in: it says so when it is called
        return {}
    required = [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if required:
        _refuse(factory, "dependency-factory", f"it requires {', '.join(required)}")
    return {p.name: p.default for p in parameters if isinstance(p.default, Dependency)}


def _refuse(factory: Any, rule: str, detail: str = "") -> None:
    from raysume.compiler.refusals import refusal

    code = getattr(factory, "__code__", None)
    raise refusal(
        rule,
        name=f"the factory {getattr(factory, '__qualname__', repr(factory))} given to Depends",
        file=code.co_filename if code is not None else "?",
        line=code.co_firstlineno if code is not None else 1,
        detail=detail,
    )
