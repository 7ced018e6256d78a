"""Functions whose calls are pushed: they run as before, and publish what went in and came out."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import (
    Any,
    Concatenate,
    Generic,
    NoReturn,
    ParamSpec,
    TypeVar,
    cast,
    overload,
)

from pydantic import BaseModel

from raysume import ids, parameters, tracing
from raysume.declarations import Method
from raysume.durable import current_turn
from raysume.errors import InvalidCall, UsageError
from raysume.records import OutgoingCall

P = ParamSpec("P")
P2 = ParamSpec("P2")
R_co = TypeVar("R_co", covariant=True)

current_sink: ContextVar[Callable[[OutgoingCall], None] | None] = ContextVar(
    "raysume_sink", default=None
)
"""Where calls go instead of the outbox while it is set: a TestShell takes them."""


class PushedMethod(Method, Generic[P, R_co]):
    """A function whose calls are published. Calling it runs the function, as before."""

    def __init__(
        self,
        urn: str,
        function: Callable[P, R_co] | staticmethod[P, R_co] | classmethod[Any, P, R_co],
        *,
        local_only: bool = False,
        external: bool = False,
        on_error: bool = False,
        local_names: Mapping[str, Any] | None = None,
    ) -> None:
        given: Any = function
        self._binder: Any = given if isinstance(given, staticmethod | classmethod) else None
        plain: Any = function if self._binder is None else self._binder.__func__
        if not inspect.isfunction(plain):
            raise UsageError(f"@push_call({urn!r}) needs a function or a method, not {plain!r}.")
        code = plain.__code__
        super().__init__(
            urn,
            module=plain.__module__,
            qualname=plain.__qualname__,
            place=f"{code.co_filename}:{code.co_firstlineno}",
        )
        self.local_only, self.external, self.on_error = local_only, external, on_error
        if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
            raise UsageError(
                f"{self.qualname} ({self.place}) is a generator: a pushed call is recorded when "
                "it returns, with its returned value. Return a list, or push each item."
            )
        self.function = plain
        self.is_async = inspect.iscoroutinefunction(plain)
        self._local_names: Mapping[str, Any] | None = local_names or {}
        self._signature = inspect.signature(plain)
        self._set_receiver(not isinstance(given, staticmethod) and _has_receiver(plain))
        functools.update_wrapper(cast(Any, self), plain)

    def _set_receiver(self, receiver: bool) -> None:
        self.receiver = receiver
        self._parameters = parameters.named_parameters(
            self.function, receiver=receiver, what=f"{self.qualname} ({self.place})"
        )
        self._names = tuple(parameter.name for parameter in self._parameters)
        self.__dict__.pop("_model", None)
        try:
            self.resolve()
        except parameters.UnresolvedAnnotation:
            return
        self._local_names = None

    def resolve(self) -> None:
        """The models exist; the decorator calls this, and again first use when a name was missing.

        Raises:
            UsageError: a type has no JSON form.
        """
        _ = self._model, self.output_adapter

    @functools.cached_property
    def _hints(self) -> dict[str, Any]:
        return parameters.hints_of(self.function, self._local_names or {})

    @functools.cached_property
    def _model(self) -> type[BaseModel]:
        return parameters.model_of(
            f"{self.function.__name__}_input",
            self._parameters,
            self._hints,
            module=self.module,
            what=f"{self.qualname} ({self.place})",
        )

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the function's parameters, `self` or `cls` left out."""
        return self._names

    @property
    def input_model(self) -> type[BaseModel]:
        """The pydantic model of the parameters, by name."""
        try:
            return self._model
        except parameters.UnresolvedAnnotation as error:
            raise _unresolved(self, error) from error

    @property
    def output_type(self) -> Any:
        """What the function is declared to return."""
        try:
            return self._hints.get("return", Any)
        except parameters.UnresolvedAnnotation as error:
            if self._local_names is not None and "_model" not in self.__dict__:
                raise
            raise _unresolved(self, error) from error

    @property
    def signature(self) -> inspect.Signature:
        """The signature of the function, receiver included."""
        return self._signature

    def encode(self, /, *args: P.args, **kwargs: P.kwargs) -> OutgoingCall:
        """The call with these arguments (without the receiver) and no output."""
        receiver = (None,) if self.receiver else ()
        return self.outgoing(self._bound(receiver + args, kwargs), output=None)

    def _bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> BaseModel:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        values = dict(bound.arguments)
        if self.receiver:
            del values[next(iter(self._signature.parameters))]
        return parameters.instance_of(self.input_model, values)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        if self.is_async:
            return cast(R_co, self._call_async(args, kwargs))
        return cast(R_co, self._call(args, kwargs))

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        recorded = self._record(args, kwargs)
        try:
            result = self.function(*args, **kwargs)
        except Exception as error:
            self._published_error(recorded, error)
            raise
        self._publish(recorded(), self.encode_output(result), None)
        return result

    async def _call_async(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        recorded = self._record(args, kwargs)
        try:
            result = await self.function(*args, **kwargs)
        except Exception as error:
            self._published_error(recorded, error)
            raise
        self._publish(recorded(), self.encode_output(result), None)
        return result

    def _record(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], bytes]:
        """A function that gives the input's JSON as the call began, whatever the body changes."""
        try:
            values = self._bound(args, kwargs)
        except TypeError:
            # not callable with these arguments: the function itself says so, as ever
            return lambda: b"{}"
        try:
            data = self.encode_input(values)
        except InvalidCall as error:
            return functools.partial(_raise, error)
        return lambda: data

    def _published_error(self, recorded: Callable[[], bytes], error: Exception) -> None:
        if not self.on_error:
            return
        try:
            data = recorded()
        except InvalidCall:
            return  # the function's own error matters more
        self._publish(data, None, f"{type(error).__name__}: {error}")

    def _publish(self, data: bytes, output: bytes | None, error: str | None) -> None:
        publish(
            OutgoingCall(
                id=ids.uuid7(),
                method=self.urn,
                service=self.service,
                input=data,
                output=output,
                error=error,
            ),
            self,
        )

    def __set_name__(self, owner: type, name: str) -> None:
        if not self.receiver and self._binder is None and self._parameters:
            self._set_receiver(True)

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> PushedMethod[P, R_co]: ...
    @overload
    def __get__(
        self: PushedMethod[Concatenate[Any, P2], R_co],
        instance: object,
        owner: type | None = None,
    ) -> PushedMethod[P2, R_co]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if isinstance(self._binder, staticmethod):
            return self
        if isinstance(self._binder, classmethod):
            return BoundMethod(self, owner if owner is not None else type(instance))
        return self if instance is None else BoundMethod(self, instance)


class BoundMethod:
    """A pushed method on its object: called, it publishes; waited for, it is its method."""

    __slots__ = ("__self__", "method")

    def __init__(self, method: PushedMethod[..., Any], receiver: Any) -> None:
        self.method = method
        self.__self__ = receiver

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.method(self.__self__, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__name__", "__qualname__", "__doc__"):
            raise AttributeError(name)
        return getattr(self.method, name)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, BoundMethod)
            and other.method is self.method
            and other.__self__ is self.__self__
        )

    def __hash__(self) -> int:
        return hash((id(self.method), id(self.__self__)))

    def __reduce__(self) -> tuple[Any, ...]:
        return (BoundMethod, (self.method, self.__self__))

    def __repr__(self) -> str:
        return f"<bound {self.method!r} of {self.__self__!r}>"


def publish(call: OutgoingCall, method: Method) -> None:
    """The call is on its way: to the current turn's commit, a TestShell, or the outbox."""
    turn = current_turn.get()
    if turn is not None:
        turn.publish(call)
        return
    call = tracing.traced(call, tracing.traceparent())
    sink = current_sink.get()
    if sink is not None:
        sink(call)
        return
    from raysume import publishing

    cast(Any, publishing).publish(call, method)


def _has_receiver(function: Any) -> bool:
    scope, _, _ = function.__qualname__.rpartition(".")
    if not scope or scope.endswith("<locals>"):
        return False
    names = list(inspect.signature(function).parameters)
    return bool(names) and names[0] in ("self", "cls", "mcs")


def _unresolved(method: Method, error: Exception) -> UsageError:
    return UsageError(
        f"an annotation of {method.qualname} ({method.place}) cannot be resolved: {error}. "
        "Define or import the name in that module (not only under TYPE_CHECKING)."
    )


def _raise(error: Exception) -> NoReturn:
    raise error
