"""Methods: functions whose calls are pushed to the engine, and the registry of them by URN.

`push_call` wraps a function of this program; `external_call` declares a method that another
program implements. Both are what `wait(...)` takes.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import sys
import warnings
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

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from raysume import ids, limits, parameters, registry
from raysume.durable import current_turn
from raysume.errors import InvalidCall, UsageError
from raysume.records import OutgoingCall

P = ParamSpec("P")
P2 = ParamSpec("P2")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
I_co = TypeVar("I_co", covariant=True)
M = TypeVar("M", bound=BaseModel)

current_sink: ContextVar[Callable[[OutgoingCall], None] | None] = ContextVar(
    "raysume_sink", default=None
)
"""Where calls go instead of the outbox while it is set: a TestShell takes them."""


class Method:
    """What can be waited for: a URN with typed input and output.

    Instances are compared by identity, and pickled by URN and place of definition.
    """

    urn: str
    """Unique in a deployment."""
    local_only: bool
    """Seen only by workflows of the same service."""
    external: bool
    """May be pushed by clients that do not host the code."""
    on_error: bool
    """Calls that raised are published too, with their error and without output."""
    module: str
    qualname: str
    place: str
    """file:line of the definition."""

    def __init__(self, urn: str, *, module: str, qualname: str, place: str) -> None:
        _check_urn(urn)
        self.urn = urn
        self.module, self.qualname, self.place = module, qualname, place
        self.local_only = self.external = self.on_error = False

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the input's fields."""
        raise NotImplementedError

    @property
    def input_model(self) -> type[BaseModel]:
        """The pydantic model of the input."""
        raise NotImplementedError

    @property
    def output_type(self) -> Any:
        """The declared type of the output; Any when there is none."""
        raise NotImplementedError

    @functools.cached_property
    def output_adapter(self) -> TypeAdapter[Any]:
        """Validates and serialises outputs."""
        return parameters.adapter_of(self.output_type, what=f"{self.urn} ({self.place})")

    @property
    def service(self) -> str:
        """The service that publishes this method's calls: as configured, else the top package."""
        from raysume.configuration import settings

        return settings().service or top_package(self.module)

    def input_schema(self) -> dict[str, Any]:
        """The JSON schema that an input must meet to be accepted; unknown parameters are refused."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            schema = self.input_model.model_json_schema(by_alias=True, mode="validation")
        if issubclass(self.input_model, parameters.ParameterModel):
            schema.setdefault("additionalProperties", False)
            schema.setdefault("type", "object")
        return schema

    def output_schema(self) -> dict[str, Any]:
        """The JSON schema that an output must meet to be accepted."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return self.output_adapter.json_schema(by_alias=True, mode="validation")

    def signature_digest(self) -> str:
        """Equal for methods of the same parameters, in name and type, and the same output type."""
        form = [list(self.parameters), _bare(self.input_schema()), _bare(self.output_schema())]
        text = json.dumps(form, sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def encode_input(self, values: BaseModel) -> bytes:
        """The JSON of an input.

        Raises:
            InvalidCall: a value is not of its parameter's type.
        """
        model = type(values)
        try:
            return model.__pydantic_serializer__.to_json(values, by_alias=True, warnings="error")
        except (PydanticSerializationError, ValueError, TypeError):
            pass
        try:  # what pydantic would have converted, e.g. a str given for a UUID
            checked = model.__pydantic_validator__.validate_python(parameters.values_of(values))
            return model.__pydantic_serializer__.to_json(checked, by_alias=True)
        except ValidationError as error:
            raise invalid_call(self, "input", error) from error
        except (PydanticSerializationError, ValueError, TypeError) as error:
            raise InvalidCall(
                f"the input of a call of {self.urn!r} has no JSON form: {error}. "
                f"Annotate the parameters ({self.place}) with types that have one."
            ) from error

    def encode_output(self, value: Any) -> bytes:
        """The JSON of an output.

        Raises:
            InvalidCall: the value is not of the declared type.
        """
        adapter = self.output_adapter
        try:
            return adapter.dump_json(value, by_alias=True, warnings="error")
        except (PydanticSerializationError, ValueError, TypeError):
            pass
        try:
            return adapter.dump_json(adapter.validate_python(value), by_alias=True)
        except ValidationError as error:
            raise invalid_call(self, "output", error) from error
        except (PydanticSerializationError, ValueError, TypeError) as error:
            raise InvalidCall(
                f"the output of a call of {self.urn!r} has no JSON form: {error}. "
                f"Annotate what it returns ({self.place}) with a type that has one."
            ) from error

    def decode_input(self, data: bytes) -> BaseModel:
        """The validated input of a recorded call.

        Raises:
            InvalidCall: naming the field that does not fit.
        """
        try:
            return self.input_model.model_validate_json(data)
        except ValidationError as error:
            raise invalid_call(self, "input", error) from error

    def decode_output(self, data: bytes) -> Any:
        """The validated output of a recorded call.

        Raises:
            InvalidCall: naming the place that does not fit.
        """
        try:
            return self.output_adapter.validate_json(data)
        except ValidationError as error:
            raise invalid_call(self, "output", error) from error

    def model_of(self, arguments: Mapping[str, Any]) -> BaseModel:
        """The input with these values by parameter name, defaults filled in.

        Raises:
            InvalidCall: a parameter is unknown or missing, or has a value of another type.
        """
        unknown = [name for name in arguments if name not in self.parameters]
        if unknown:
            known = ", ".join(self.parameters) or "none"
            raise InvalidCall(
                f"{self.urn!r} has no parameter {unknown[0]!r}; its parameters are: {known}."
            )
        try:
            return self.input_model.model_validate(dict(arguments))
        except ValidationError as error:
            raise invalid_call(self, "input", error) from error

    def outgoing(
        self, values: BaseModel, *, output: bytes | None, error: str | None = None
    ) -> OutgoingCall:
        """A call of this method with a new id, ready to publish."""
        return OutgoingCall(
            id=ids.uuid7(),
            method=self.urn,
            service=self.service,
            input=self.encode_input(values),
            output=output,
            error=error,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (registry.require, (self.urn, self.module, self.qualname))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.urn!r} {self.place}>"


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
        self._binder: Any = function if isinstance(function, staticmethod | classmethod) else None
        plain: Callable[..., Any] = cast(Any, function).__func__ if self._binder else function
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
        self._set_receiver(not isinstance(function, staticmethod) and _has_receiver(plain))
        functools.update_wrapper(cast(Any, self), plain)

    def _set_receiver(self, receiver: bool) -> None:
        self.receiver = receiver
        self._parameters = parameters.named_parameters(
            self.function, receiver=receiver, what=f"{self.qualname} ({self.place})"
        )
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

    @functools.cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of the function's parameters, `self` or `cls` left out."""
        return tuple(parameter.name for parameter in self._parameters)

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

    def _record(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Callable[[], bytes]:
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
            self.__dict__.pop("parameters", None)
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


class ExternalMethod(Method, Generic[I_co, R_co]):
    """A method that another program implements: declared, never run here."""

    def __init__(self, urn: str, *, model: type[BaseModel], output: Any, place: str, module: str):
        super().__init__(urn, module=module, qualname=f"external:{urn}", place=place)
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise UsageError(
                f"external_call({urn!r}, input=...) needs a pydantic model, not {model!r}: "
                "its fields are the parameters."
            )
        self.external = True
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


def publish(call: OutgoingCall, method: Method) -> None:
    """The call is on its way: to the current turn's commit, a TestShell, or the outbox."""
    turn = current_turn.get()
    if turn is not None:
        turn.publish(call)
        return
    sink = current_sink.get()
    if sink is not None:
        sink(call)
        return
    from raysume import publishing

    cast(Any, publishing).publish(call, method)


def top_package(module: str) -> str:
    """The first part of a module's name; for a program run as a script, its name."""
    top = module.partition(".")[0]
    if top != "__main__":
        return top
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        return str(spec.name).partition(".")[0]
    path = str(getattr(main, "__file__", None) or "main")
    return path.replace("\\", "/").rpartition("/")[2].removesuffix(".py")


def invalid_call(method: Method, part: str, error: ValidationError) -> InvalidCall:
    """The error for data that is not of the method's types, naming the first field that is not."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(piece) for piece in (part, *first["loc"]))
    return InvalidCall(
        f"a call of {method.urn!r} has an invalid {where}: {first['msg']}. "
        f"The method is defined at {method.place}.",
        method=method.urn,
        field=where,
    )


def _check_urn(urn: object) -> None:
    if not isinstance(urn, str) or not urn or urn != urn.strip():
        raise UsageError(
            f'a method needs a URN, e.g. @push_call("orders.submitted"), not {urn!r}.'
        )
    if len(urn) > limits.METHOD_NAME_CHARS_MAX:
        raise UsageError(
            f"the URN {urn[:40]}... has {len(urn)} characters; at most "
            f"{limits.METHOD_NAME_CHARS_MAX} are allowed."
        )


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


def _bare(schema: Any) -> Any:
    """A schema without the words that describe it."""
    if isinstance(schema, dict):
        items = cast(dict[str, Any], schema).items()
        return {k: _bare(v) for k, v in items if k not in ("title", "description")}
    if isinstance(schema, list):
        return [_bare(item) for item in cast(list[Any], schema)]
    return schema


def _raise(error: Exception) -> NoReturn:
    raise error
