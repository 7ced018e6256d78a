"""What a method is: a URN with typed input and output, and their JSON forms."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from raysume import ids, limits, parameters, registry, signatures
from raysume.errors import InvalidCall, UsageError
from raysume.records import OutgoingCall


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
    implemented: bool = True
    """False: declared here and implemented elsewhere, so that another declaration says whose it is."""
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
        return service_of(self.module)

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
        """Equal for methods of the same parameters, in name and type, and the same output type.

        Raises:
            UsageError: an annotation is not resolved yet.
        """
        return self._signature_digest

    @functools.cached_property
    def _signature_digest(self) -> str:
        return signatures.digest_of(self.input_schema(), self.output_schema())

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


def service_of(module: str) -> str:
    """The service of what a module defines: as configured, else the module's top package."""
    from raysume.configuration import settings

    return settings().service or top_package(module)


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
        raise UsageError(f'a method needs a URN, e.g. @push_call("orders.submitted"), not {urn!r}.')
    if len(urn) > limits.METHOD_NAME_CHARS_MAX:
        raise UsageError(
            f"the URN {urn[:40]}... has {len(urn)} characters; at most "
            f"{limits.METHOD_NAME_CHARS_MAX} are allowed."
        )
