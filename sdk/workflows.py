"""Workflows: the decorator, and what it makes of an `async def`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import (
    TYPE_CHECKING,
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

from raysume import parameters
from raysume.declarations import service_of
from raysume.dependencies import Dependency
from raysume.errors import UsageError
from raysume.ids import VersionId, WorkflowName
from raysume.schedules import Timetable
from raysume.steps import Retry

if TYPE_CHECKING:
    from raysume.compiler import Definition, SubflowCall
    from raysume.containers import Container
    from raysume.versions.digests import Digests

P = ParamSpec("P")
P2 = ParamSpec("P2")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Workflow(Generic[P, R_co]):
    """An `async def` that is durable: deployed, its instances wait for as long as it takes."""

    __raysume_durable__ = True

    name: WorkflowName
    """Unique in a deployment."""
    definition: Definition
    """The compiled function."""
    active: bool
    """False: takes no new instances."""
    version_label: str | None
    """Given by the user instead of the computed version."""
    id_function: Callable[..., Any] | None
    """Makes the instance's id from the parameters."""
    every: str | None
    """A cron expression: starts on a schedule."""
    tz: str | None
    """The schedule's time zone."""
    timetable: Timetable | None
    """When it starts by itself."""
    retry: Retry | None
    """How failed instances are retried."""
    owner: type[Container] | None
    """The class whose method it is: every instance has an object of it."""

    def __init__(
        self,
        function: Callable[P, Coroutine[Any, Any, R_co]],
        *,
        name: str | None = None,
        id: Callable[..., Any] | None = None,
        active: bool = True,
        version: str | None = None,
        every: str | None = None,
        tz: str | None = None,
        retry: Retry | None = None,
        local_names: Mapping[str, Any] | None = None,
    ) -> None:
        from raysume.compiler import compile_workflow
        from raysume.matching.checks import check_matches

        if not inspect.isfunction(function):
            raise UsageError(
                f"@workflow needs an async function, not {function!r}: put it directly above "
                "`async def`."
            )
        self.function = function
        self.name = WorkflowName(name or declared_name(function))
        self.definition = compile_workflow(function, name=self.name)
        check_matches(function)
        self.active, self.version_label, self.id_function = active, version, id
        self.every, self.tz, self.retry = every, tz, retry
        self.timetable = None if every is None else Timetable(every, tz, what=f"{self!r}")
        if self.timetable is not None:
            self.timetable.check_parameters(self._parameters, what=f"{self!r}")
        self.owner = None
        self.definition.workflow = self
        self._local_names: Mapping[str, Any] = local_names or {}
        functools.update_wrapper(cast(Any, self), function)
        self._resolve_early()

    def _resolve_early(self) -> None:
        """Types without a JSON form are refused by the decorator, as far as their names are known."""
        try:
            parameters.hints_of(self.function, self._local_names)
            _ = self.input_model, self.output_adapter
        except parameters.UnresolvedAnnotation:
            self.__dict__.pop("_hints", None)

    def under(self, name: str) -> Workflow[P, R_co]:
        """The same function as a workflow of another name: that of a class which inherits it."""
        return Workflow(
            self.function,
            name=name,
            id=self.id_function,
            active=self.active,
            version=self.version_label,
            every=self.every,
            tz=self.tz,
            retry=self.retry,
            local_names=self._local_names,
        )

    def belongs_to(self, owner: type[Container]) -> None:
        """Its instances begin with an object of the class as `self`."""
        self.owner = self.definition.owner = owner

    def begin(self, arguments: Mapping[str, Any]) -> tuple[SubflowCall, Container | None]:
        """What a new instance runs, and the object of the class that it belongs to.

        Raises:
            UsageError: it is a method, but not of a Container.
        """
        if self.owner is None:
            self.check_owner()
            return self.definition(**arguments), None
        container = self.owner()
        return self.definition(container, **arguments), container

    def check_owner(self) -> None:
        """A workflow that is a method is one of a Container.

        Raises:
            UsageError: it is not, so nobody could make its `self`.
        """
        if self.takes_receiver and self.owner is None:
            raise UsageError.by_rule(
                "workflow-without-container",
                f"workflow {self.name!r} ({self.place}) is a method of a class that is no "
                "Container, so its state has no `self`. Derive the class from raysume.Container.",
            )

    @property
    def module(self) -> str:
        """The name of the module that defines it."""
        return self.function.__module__

    @property
    def service(self) -> str:
        """The service that it belongs to: as configured, else the top package of its definition."""
        return service_of(self.module if self.owner is None else self.owner.__module__)

    @property
    def file(self) -> str:
        """The file that defines it."""
        return self.function.__code__.co_filename

    @property
    def place(self) -> str:
        """file:line of the function."""
        return f"{self.file}:{self.function.__code__.co_firstlineno}"

    @functools.cached_property
    def takes_receiver(self) -> bool:
        """Whether it is a method with `self`."""
        first = next(iter(inspect.signature(self.function).parameters), None)
        return "." in declared_name(self.function) and first in ("self", "cls")

    @functools.cached_property
    def _parameters(self) -> tuple[inspect.Parameter, ...]:
        every = parameters.named_parameters(
            self.function,
            receiver=self.takes_receiver,
            what=f"workflow {self.name!r} ({self.place})",
        )
        return tuple(one for one in every if not isinstance(one.default, Dependency))

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of its parameters; `self` and those with `Depends` left out."""
        return tuple(parameter.name for parameter in self._parameters)

    @property
    def has_parameters(self) -> bool:
        """True: started by `client.start`; False: by the calls that meet its first wait, or `every`."""
        return bool(self._parameters)

    @functools.cached_property
    def _hints(self) -> dict[str, Any]:
        return parameters.known_hints(
            self.function, self._local_names, what=f"workflow {self.name!r} ({self.place})"
        )

    @functools.cached_property
    def input_model(self) -> type[BaseModel]:
        """The pydantic model of the parameters, by name."""
        return parameters.model_of(
            f"{self.function.__name__}_parameters",
            self._parameters,
            self._hints,
            module=self.module,
            what=f"workflow {self.name!r} ({self.place})",
        )

    @functools.cached_property
    def output_adapter(self) -> TypeAdapter[Any]:
        """Validates and serialises results."""
        return parameters.adapter_of(
            self._hints.get("return", Any), what=f"workflow {self.name!r} ({self.place})"
        )

    def encode_arguments(self, /, *args: P.args, **kwargs: P.kwargs) -> bytes:
        """The JSON of the arguments of a start, by parameter name.

        Raises:
            UsageError: they are not the workflow's parameters, or not of their types.
        """
        names = list(self.parameters)
        signature = inspect.Signature(list(self._parameters))
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise UsageError(
                f"workflow {self.name!r} cannot be started so: {error}; its parameters are "
                f"({', '.join(names)})."
            ) from None
        bound.apply_defaults()
        try:
            checked = self.input_model.model_validate(dict(bound.arguments))
        except ValidationError as error:
            raise self._invalid(error) from error
        return checked.__pydantic_serializer__.to_json(checked, by_alias=True)

    def decode_arguments(self, data: bytes) -> dict[str, Any]:
        """The arguments by parameter name, validated.

        Raises:
            UsageError: naming the parameter that does not fit.
        """
        try:
            return parameters.values_of(self.input_model.model_validate_json(data))
        except ValidationError as error:
            raise self._invalid(error) from error

    def _invalid(self, error: ValidationError) -> UsageError:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "input"
        return UsageError(
            f"workflow {self.name!r} was started with an invalid {where}: {first['msg']}.",
            field=where,
        )

    def instance_id(self, arguments: Mapping[str, Any]) -> str | None:
        """The id made by `@workflow(id=...)` for these arguments; None when there is no such rule."""
        if self.id_function is None:
            return None
        accepted = inspect.signature(self.id_function).parameters
        if any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
            return str(self.id_function(**arguments))
        return str(self.id_function(**{n: v for n, v in arguments.items() if n in accepted}))

    def version_id(self) -> VersionId:
        """The label given by the user, else six hex digits of the logic digest.

        The files are read when this is first asked for: that should be soon after their import.
        """
        return VersionId(self.version_label or self.digests.logic[:6])

    @functools.cached_property
    def digests(self) -> Digests:
        """What makes two deployments of the workflow the same version."""
        from raysume.versions.digests import digests_of

        return digests_of(self.definition)

    def __call__(self, /, *_args: P.args, **_kwargs: P.kwargs) -> Awaitable[R_co]:
        """The workflow as a child: awaited in another workflow, it starts an instance of its own.

        Raises:
            UsageError: the arguments are not its parameters, or not of their types.
        """
        from raysume.children import ChildCall

        return ChildCall(self.definition, self.encode_arguments(*_args, **_kwargs))

    @overload
    def __get__(
        self: Workflow[Concatenate[Any, P2], R_co], instance: object, owner: type | None = None
    ) -> Workflow[P2, R_co]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Workflow[P, R_co]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self

    def __await__(self) -> NoReturn:
        raise UsageError(f"workflow {self.name!r} is not a value to await; start it with a client.")

    def __reduce__(self) -> tuple[Any, ...]:
        return (_named, (self.module, self.function.__qualname__))

    def __repr__(self) -> str:
        return f"<Workflow {self.name!r} {self.place}>"


def _named(module: str, qualname: str) -> Any:
    import importlib

    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


@overload
def workflow(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...
@overload
def workflow(
    *,
    name: str | None = None,
    id: Callable[..., Any] | None = None,
    active: bool = True,
    version: str | None = None,
    every: str | None = None,
    tz: str | None = None,
    retry: Retry | None = None,
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Workflow[P, R]]: ...
def workflow(
    fn: Any = None,
    /,
    *,
    name: str | None = None,
    id: Callable[..., Any] | None = None,
    active: bool = True,
    version: str | None = None,
    every: str | None = None,
    tz: str | None = None,
    retry: Retry | None = None,
) -> Any:
    """The decorated `async def` is a workflow.

    Args:
        name: unique in a deployment; the function's name by default, `Class.method` for methods.
        id: makes an instance's id from the parameters of its start.
        active: False takes no new instances.
        version: a label instead of the computed version.
        every, tz: a cron expression and its time zone.
        retry: how a failed instance is retried.

    Raises:
        CompileError: the function cannot be made durable as it is written.
    """
    frame = parameters.caller_frame()

    def decorate(function: Any) -> Workflow[..., Any]:
        names = parameters.namespace_of(frame, getattr(function, "__globals__", {}))
        return Workflow(
            function,
            name=name,
            id=id,
            active=active,
            version=version,
            every=every,
            tz=tz,
            retry=retry,
            local_names=names,
        )

    return decorate if fn is None else decorate(fn)


def declared_name(function: Any) -> str:
    """The name a workflow has by default: the function's, `Class.method` for methods."""
    name: str = function.__qualname__
    return name.rpartition("<locals>.")[2]
