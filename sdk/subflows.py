"""Subflows: parts of workflows that may wait, inside the instance that awaits them."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

P = ParamSpec("P")
P2 = ParamSpec("P2")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Subflow(Protocol[P, R_co]):
    """How type checkers see a subflow: called, it gives a durable value with its return type."""

    def __call__(self, /, *_args: P.args, **_kwargs: P.kwargs) -> Awaitable[R_co]: ...
    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Subflow[P, R_co]: ...
    @overload
    def __get__(
        self: Subflow[Concatenate[Any, P2], R_co], instance: object, owner: type | None = None
    ) -> Subflow[P2, R_co]: ...


@overload
def subflow(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Subflow[P, R]: ...
@overload
def subflow(
    *, name: str | None = None
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Subflow[P, R]]: ...
def subflow(fn: Any = None, /, *, name: str | None = None) -> Any:
    """The decorated `async def` may wait durably, inside the instance that awaits it.

    Raises:
        CompileError: the function cannot be made durable as it is written.
    """
    return functools.partial(_subflow, name=name) if fn is None else _subflow(fn, name=name)


def _subflow(function: Any, *, name: str | None) -> Any:
    from raysume.compiler import compile_subflow
    from raysume.matching.checks import check_matches

    definition = compile_subflow(function, name=name)
    if "<locals>" not in function.__qualname__:  # nested ones are checked with their workflow
        check_matches(function)
    return definition
