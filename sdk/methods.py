"""Methods: functions whose calls are pushed to the engine, and the registry of them by URN.

`push_call` wraps a function of this program; `external_call` declares a method that another
program implements. Both are what `wait(...)` takes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Generic, NoReturn, ParamSpec, TypeVar, cast, overload

from pydantic import BaseModel

from raysume import parameters, registry
from raysume.declarations import Method
from raysume.errors import UsageError
from raysume.pushing import BoundMethod, PushedMethod, current_sink

__all__ = [
    "BoundMethod",
    "ExternalMethod",
    "Method",
    "PushedMethod",
    "current_sink",
    "external_call",
    "lookup",
    "method_of",
    "push_call",
]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
I_co = TypeVar("I_co", covariant=True)
M = TypeVar("M", bound=BaseModel)


class ExternalMethod(Method, Generic[I_co, R_co]):
    """A method that another program implements: declared, never run here."""

    def __init__(self, urn: str, *, model: type[BaseModel], output: Any, place: str, module: str):
        super().__init__(urn, module=module, qualname=f"external:{urn}", place=place)
        given: Any = model
        if not (isinstance(given, type) and issubclass(given, BaseModel)):
            raise UsageError(
                f"external_call({urn!r}, input=...) needs a pydantic model, not {model!r}: "
                "its fields are the parameters."
            )
        self.external, self.implemented = True, False
        self._model, self._output = model, output

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the model's fields."""
        return tuple(self._model.__pydantic_fields__)

    @property
    def input_model(self) -> type[BaseModel]:
        """The model that was declared."""
        return self._model

    @property
    def output_type(self) -> Any:
        """The declared type of the output."""
        return self._output

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        raise UsageError(
            f"{self.urn!r} is implemented elsewhere ({self.place}): it cannot be called here. "
            f"Push a call of it with client.push({self.urn!r}, input={{...}})."
        )


def push_call(
    urn: str, *, local_only: bool = False, external: bool = False, on_error: bool = False
) -> Callable[[Callable[P, R]], PushedMethod[P, R]]:
    """Calls of the decorated function are published under `urn` when they return.

    Args:
        urn: the method's name, unique in a deployment.
        local_only: only workflows of the same service see the calls.
        external: clients that do not host the code may push calls too.
        on_error: a call that raises is published with its error and no output.

    Raises:
        UsageError: a parameter is variadic or has a type without a JSON form, or the URN is
            taken by a function with another signature.
    """
    frame = parameters.caller_frame()

    def decorate(function: Callable[P, R]) -> PushedMethod[P, R]:
        plain: Any = getattr(function, "__func__", function)
        names = parameters.namespace_of(frame, getattr(plain, "__globals__", {}))
        method = PushedMethod(
            urn,
            function,
            local_only=local_only,
            external=external,
            on_error=on_error,
            local_names=names,
        )
        registry.register(method)
        return method

    return decorate


@overload
def external_call(urn: str, *, input: type[M], output: type[R]) -> ExternalMethod[M, R]: ...
@overload
def external_call(urn: str, *, input: type[M], output: None = None) -> ExternalMethod[M, None]: ...
@overload
def external_call(urn: str, *, input: type[M], output: Any) -> ExternalMethod[M, Any]: ...
def external_call(urn: str, *, input: type[BaseModel], output: Any = None) -> Any:
    """The method `urn` of another program can be waited for and pushed.

    Args:
        input: the pydantic model of its input.
        output: the type of its output; None when it has none.
    """
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    method: ExternalMethod[Any, Any] = ExternalMethod(
        urn,
        model=input,
        output=output,
        place=f"{frame.f_code.co_filename}:{frame.f_lineno}",
        module=str(frame.f_globals.get("__name__", "__main__")),
    )
    _ = method.output_adapter
    registry.register(method)
    return method


def lookup(urn: str) -> Method | None:
    """The method of this URN that is defined in this process, or None."""
    return registry.lookup(urn)


def method_of(value: Any) -> Method:
    """The method meant by a value given to `wait(...)`.

    Raises:
        UsageError: the value is not a method.
    """
    if isinstance(value, Method):
        return value
    if isinstance(value, BoundMethod):
        return value.method
    if isinstance(value, staticmethod | classmethod):
        return method_of(cast(Any, value).__func__)
    bound: Any = getattr(value, "__func__", None)  # classmethod above @push_call
    if isinstance(bound, Method):
        return bound
    name = getattr(value, "__qualname__", repr(value))
    raise UsageError(
        f"{name} is not a method that can be waited for: decorate the function with "
        '@push_call("its.urn"), or declare it with external_call("its.urn", input=..., output=...).'
    )
