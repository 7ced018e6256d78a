"""Pydantic models made of a function's parameters, whatever these are called.

A parameter may have any name Python allows: `copy`, `json`, `model_config`, `_x`. Names
that pydantic keeps for itself are stored under another field name with the parameter's
name as alias, and read through a property, so `call.input.<name>` always works.
"""

from __future__ import annotations

import inspect
import sys
import typing
import warnings
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from raysume.errors import UsageError

_CONFIG = ConfigDict(
    frozen=True,
    extra="ignore",
    serialize_by_alias=True,
    validate_by_alias=True,
    validate_by_name=False,
    ser_json_bytes="base64",
    val_json_bytes="base64",
    ser_json_inf_nan="strings",
    protected_namespaces=(),
)
_VALUE_CONFIG = ConfigDict(
    ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings"
)
_RESERVED = frozenset(dir(BaseModel)) | {"model_config", "raysume_names"}


class ParameterModel(BaseModel):
    """The root of the models made here: frozen, and printed by parameter name."""

    model_config = _CONFIG

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        fields = type(self).__pydantic_fields__
        for name, value in self.__dict__.items():
            yield fields[name].alias or name, value


class RenamedModel(ParameterModel):
    """The root of models some of whose parameters have names that pydantic keeps for itself."""

    raysume_names: ClassVar[dict[str, str]] = {}
    """parameter -> field, for those."""

    def __getattribute__(self, name: str) -> Any:
        field = type(self).raysume_names.get(name)
        if field is None:
            return super().__getattribute__(name)
        return object.__getattribute__(self, "__dict__")[field]


class UnresolvedAnnotation(Exception):
    """An annotation names something that is not defined yet; trying later may succeed."""


def namespace_of(frame: FrameType | None, module_globals: Mapping[str, Any]) -> dict[str, Any]:
    """The local names visible where a decorator was applied: what string annotations may mean."""
    found: dict[str, Any] = {}
    while frame is not None and frame.f_globals is module_globals:
        if frame.f_locals is frame.f_globals:
            break
        found = {**frame.f_locals, **found}
        frame = frame.f_back
    return found


def hints_of(function: Callable[..., Any], local_names: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved annotations of `function`.

    Raises:
        UnresolvedAnnotation: a name in them is not defined (yet).
    """
    try:
        return typing.get_type_hints(function, localns=dict(local_names), include_extras=True)
    except (NameError, AttributeError) as error:
        raise UnresolvedAnnotation(str(error)) from error


def known_hints(
    function: Callable[..., Any], local_names: Mapping[str, Any], *, what: str
) -> dict[str, Any]:
    """The resolved annotations of `function`, whose names must all be defined by now.

    Raises:
        UsageError: one is not; names `what` and the remedy.
    """
    try:
        return hints_of(function, local_names)
    except UnresolvedAnnotation as error:
        raise UsageError(
            f"an annotation of {what} cannot be resolved: {error}. Define or import the name in "
            "that module."
        ) from error


def named_parameters(
    function: Callable[..., Any], *, receiver: bool, what: str
) -> tuple[inspect.Parameter, ...]:
    """The parameters of `function` in order, without the receiver of a method.

    Raises:
        UsageError: there is `*args` or `**kwargs`, which have no names to match on.
    """
    parameters = list(inspect.signature(function).parameters.values())
    if receiver:
        parameters = parameters[1:]
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            raise UsageError.by_rule(
                "variadic-parameter",
                f"{what} has {stars}{parameter.name}: every parameter needs a name and a type, "
                "because calls are recorded and matched by parameter. Name them one by one, or "
                "take one parameter of a pydantic model, list or dict type.",
            )
    return tuple(parameters)


def field_name(parameter: str) -> str:
    """The name of the model's field that holds a parameter."""
    if parameter.startswith("_") or parameter in _RESERVED:
        return f"field_{parameter.lstrip('_')}_{len(parameter) - len(parameter.lstrip('_'))}"
    return parameter


def _field_names(parameters: Iterable[inspect.Parameter]) -> dict[str, str]:
    names: dict[str, str] = {}
    plain = {p.name for p in parameters}
    for name in plain:
        field = field_name(name)
        while field != name and (field in plain or field in names.values()):
            field += "_"
        names[name] = field
    return names


def model_of(
    name: str,
    parameters: tuple[inspect.Parameter, ...],
    hints: Mapping[str, Any],
    *,
    module: str,
    what: str,
) -> type[BaseModel]:
    """A pydantic model with one field for each parameter exists.

    Raises:
        UsageError: the type of a parameter has no JSON form.
    """
    names = _field_names(parameters)
    renamed = {name: field for name, field in names.items() if field != name}
    root = RenamedModel if renamed else ParameterModel
    fields: dict[str, Any] = {}
    for parameter in parameters:
        hint = hints.get(parameter.name, Any)
        default = ... if parameter.default is parameter.empty else parameter.default
        field = names[parameter.name]
        alias = parameter.name if field != parameter.name else None
        fields[field] = (hint, Field(default=default, alias=alias))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model = create_model(name, __base__=root, __module__=module, **fields)
    except (PydanticSchemaGenerationError, PydanticUserError, TypeError) as error:
        raise UsageError.by_rule(
            "unserialisable-type",
            f"a parameter of {what} has a type without a JSON form: {_first_line(error)} "
            "Use plain types, dataclasses, pydantic models or enums; pass anything else by id.",
        ) from error
    if not model.__pydantic_complete__:
        raise UnresolvedAnnotation(f"a type named by {what} is not complete yet")
    if issubclass(model, RenamedModel):
        model.raysume_names = renamed
    return model


def adapter_of(hint: Any, *, what: str) -> TypeAdapter[Any]:
    """A validator and serialiser for the values that `what` returns.

    Raises:
        UsageError: the type has no JSON form.
    """
    try:
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(hint, config=_VALUE_CONFIG)
        except PydanticUserError as error:
            if error.code != "type-adapter-config-unused":
                raise
            adapter = TypeAdapter(hint)
    except (PydanticSchemaGenerationError, PydanticUserError, TypeError) as error:
        raise UsageError.by_rule(
            "unserialisable-type",
            f"{what} returns a type without a JSON form: {_first_line(error)} "
            "Return plain types, dataclasses, pydantic models or enums.",
        ) from error
    return adapter


def instance_of(model: type[BaseModel], values: Mapping[str, Any]) -> BaseModel:
    """An instance of `model` holding `values` (by parameter name) as they are, not validated."""
    fields = {(field.alias or name): name for name, field in model.__pydantic_fields__.items()}
    made = model.__new__(model)
    object.__setattr__(made, "__dict__", {fields[name]: v for name, v in values.items()})
    object.__setattr__(made, "__pydantic_fields_set__", set(made.__dict__))
    object.__setattr__(made, "__pydantic_extra__", None)
    object.__setattr__(made, "__pydantic_private__", None)
    return made


def values_of(instance: BaseModel) -> dict[str, Any]:
    """The values of a model's instance by parameter name (by alias where there is one)."""
    fields = type(instance).__pydantic_fields__
    if not isinstance(instance, ParameterModel):
        return {name: instance.__dict__[name] for name in fields}
    return {(field.alias or name): instance.__dict__[name] for name, field in fields.items()}


def _first_line(error: Exception) -> str:
    text = str(error).strip().split("\n", 1)[0]
    return text if text.endswith(".") else text + "."


def caller_frame(depth: int = 1) -> FrameType | None:
    """The frame `depth` calls above the function that asks."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    for _ in range(depth):
        frame = frame.f_back if frame is not None else None
    return frame
