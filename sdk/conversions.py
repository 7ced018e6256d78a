"""Values from outside, converted to the type of what they replace."""

from __future__ import annotations

from typing import Any

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

from raysume.errors import UsageError


def like(present: Any, value: Any, *, name: str) -> Any:
    """The value as one of the present value's type; as it is where that says nothing.

    Raises:
        UsageError: it does not fit.
    """
    if present is None or value is None or type(value) is type(present):
        return value
    return converted(value, type(present), name=name)


def converted(value: Any, type_: Any, *, name: str) -> Any:
    """The value as pydantic makes it of the type, so that JSON will do.

    Args:
        name: of the variable, for the error.

    Raises:
        UsageError: it does not fit.
    """
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(type_)
    except PydanticSchemaGenerationError:  # a class that pydantic does not know: as it was given
        return value
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]["msg"]
        kind = getattr(type_, "__qualname__", str(type_))
        raise UsageError(
            f"variable {name!r} is a {kind} there and cannot be set to {value!r}: {wrong}. "
            "Give a value of that type."
        ) from error
