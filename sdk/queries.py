"""`@query`: methods of a Container that answer from saved state."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from pydantic import BaseModel, TypeAdapter, ValidationError

from raysume import parameters
from raysume.errors import UsageError

P = ParamSpec("P")
P2 = ParamSpec("P2")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Query(Generic[P, R_co]):
    """A question to an instance: `client.query(run, Onboarding.progress)`."""

    name: str
    """The method's name."""

    def __init__(
        self, function: Callable[P, R_co], *, local_names: Mapping[str, Any] | None = None
    ) -> None:
        from raysume.compiler.refusals import refusal

        plain: Any = function
        code = getattr(plain, "__code__", None)
        if (
            not inspect.isfunction(plain)
            or inspect.iscoroutinefunction(plain)
            or inspect.isgeneratorfunction(plain)
            or inspect.isasyncgenfunction(plain)
        ):
            raise refusal(
                "query-not-plain",
                name=getattr(plain, "__qualname__", repr(plain)),
                file=code.co_filename if code is not None else "?",
                line=code.co_firstlineno if code is not None else 1,
            )
        self.function = plain
        self.name = plain.__name__
        self._local_names: Mapping[str, Any] = local_names or {}
        functools.update_wrapper(cast(Any, self), plain)

    @property
    def place(self) -> str:
        """file:line of the method."""
        return f"{self.function.__code__.co_filename}:{self.function.__code__.co_firstlineno}"

    @property
    def _what(self) -> str:
        return f"query {self.name!r} ({self.place})"

    @functools.cached_property
    def _parameters(self) -> tuple[inspect.Parameter, ...]:
        return parameters.named_parameters(self.function, receiver=True, what=self._what)

    @functools.cached_property
    def _hints(self) -> dict[str, Any]:
        return parameters.known_hints(self.function, self._local_names, what=self._what)

    @functools.cached_property
    def input_model(self) -> type[BaseModel]:
        """The pydantic model of the parameters, by name."""
        return parameters.model_of(
            f"{self.name}_parameters",
            self._parameters,
            self._hints,
            module=self.function.__module__,
            what=self._what,
        )

    @functools.cached_property
    def output_adapter(self) -> TypeAdapter[Any]:
        """Validates and serialises answers."""
        return parameters.adapter_of(self._hints.get("return", Any), what=self._what)

    def encode_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """The JSON of the arguments of a question, by parameter name.

        Raises:
            UsageError: they are not the query's parameters, or not of their types.
        """
        signature = inspect.Signature(list(self._parameters))
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            names = ", ".join(one.name for one in self._parameters) or "none"
            raise UsageError(
                f"{self._what} cannot be asked so: {error}; its parameters are: {names}."
            ) from None
        bound.apply_defaults()
        try:
            checked = self.input_model.model_validate(dict(bound.arguments))
        except ValidationError as error:
            raise self._invalid(error) from error
        return checked.__pydantic_serializer__.to_json(checked, by_alias=True)

    def answer(self, container: Any, arguments: bytes | Mapping[str, str]) -> bytes:
        """The answer's JSON.

        Args:
            container: an object of the class that only the answer uses: what the query
                changes in it is lost.
            arguments: JSON by parameter name, or texts as they stand in an address.

        Raises:
            UsageError: the arguments are not the query's, or it raised.
        """
        given: Mapping[str, Any] = self._decoded(arguments)
        unknown = [name for name in given if name not in {one.name for one in self._parameters}]
        if unknown:
            names = ", ".join(one.name for one in self._parameters) or "none"
            raise UsageError(
                f"{self._what} has no parameter {unknown[0]!r}; its parameters are: {names}.",
                field=unknown[0],
            )
        try:
            if isinstance(arguments, bytes):
                checked = self.input_model.model_validate(given, strict=False)
            else:
                checked = self.input_model.model_validate_strings(given)
        except ValidationError as error:
            raise self._invalid(error) from error
        try:
            value = self.function(container, **parameters.values_of(checked))
            return self.output_adapter.dump_json(value, by_alias=True)
        except Exception as error:
            raise QueryFailed(
                f"{self._what} raised {type(error).__name__}: {error}. It is the query's own "
                "code that must cope with every state of its fields.",
                query=self.name,
            ) from error

    def _decoded(self, arguments: bytes | Mapping[str, str]) -> Mapping[str, Any]:
        if not isinstance(arguments, bytes):
            return arguments
        import msgspec

        found: dict[str, Any] = msgspec.json.decode(arguments, type=dict[str, Any])
        return found

    def _invalid(self, error: ValidationError) -> UsageError:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "input"
        return UsageError(
            f"{self._what} was asked with an invalid {where}: {first['msg']}.", field=where
        )

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        answer: R_co = self.function(*args, **kwargs)
        return answer

    @overload
    def __get__(
        self: Query[Concatenate[Any, P2], R_co], instance: None, owner: type | None = None
    ) -> Query[P2, R_co]: ...
    @overload
    def __get__(
        self: Query[Concatenate[Any, P2], R_co], instance: object, owner: type | None = None
    ) -> Callable[P2, R_co]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else self.function.__get__(instance, owner)

    def __repr__(self) -> str:
        return f"<Query {self.function.__qualname__} {self.place}>"


class QueryFailed(UsageError):
    """The code of a query raised."""

    code = "query-failed"


def query(function: Callable[P, R], /) -> Query[P, R]:
    """The method of a Container answers `client.query(...)`: at any time, from the saved state.

    It is a plain `def`. What it changes is not saved.

    Raises:
        CompileError: it is asynchronous or a generator.
    """
    frame = parameters.caller_frame()
    names = parameters.namespace_of(frame, getattr(function, "__globals__", {}))
    return Query(function, local_names=names)
