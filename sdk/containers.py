"""`Container`: a workflow as a class, whose fields are its state with a schema.

    class Onboarding(Container):
        form: Registration | None = None

        @workflow
        async def run(self) -> str: ...

Every instance has an object of the class of its own, which all its frames, groups and
callbacks share, also after they were saved and loaded. Assigned fields are validated.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import BaseModel, ConfigDict

from raysume.compiler import Definition, pickling, revive
from raysume.compiler.refusals import refusal
from raysume.errors import CompileError
from raysume.methods import BoundMethod, Method
from raysume.queries import Query
from raysume.workflows import Workflow, declared_name

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass as _Metaclass
else:
    _Metaclass = type(BaseModel)


class Container(BaseModel):
    """The state of a workflow: fields that are validated, saved with it, and shown.

    Optional hooks, each called in the turn in which the instance ends:
        `async def on_error(self, error: Exception) -> None`: the instance has failed, and is
            not retried by itself. What it changes in the fields is not saved, since a failed
            instance keeps its last saved point; calls that it pushes are published.
        `async def on_completed(self) -> None`: the workflow has returned. What it changes in
            the fields is part of the final state.
    Hooks may await ordinary things, but no waits or steps. One that raises is logged and
    changes nothing.
    """

    __raysume_container__: ClassVar[bool] = True
    has_hooks: ClassVar[bool] = False
    """Whether the class defines `on_error` or `on_completed`."""

    model_config = ConfigDict(
        validate_assignment=True,
        ignored_types=(Workflow, Definition, Query, Method, BoundMethod),
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        _refuse_init(cls)
        cls.has_hooks = hasattr(cls, "on_error") or hasattr(cls, "on_completed")
        inherited = [one for one in _workflows_of(cls) if one[0] not in vars(cls)]
        for name, other in inherited:
            own = other.under(f"{declared_name(cls)}.{name}")
            setattr(cls, name, own)
        defined: list[Any] = list(vars(cls).values())
        workflows: list[Workflow[..., Any]] = [one for one in defined if isinstance(one, Workflow)]
        for one in workflows:
            if one.takes_receiver:
                one.belongs_to(cls)
        if workflows:
            _refuse_required_fields(cls)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return object.__hash__(self)


def queries_of(kind: type[Container]) -> dict[str, Query[..., Any]]:
    """The `@query` methods of the class, by name."""
    found: dict[str, Query[..., Any]] = {}
    for base in reversed(kind.__mro__):
        for name, value in vars(base).items():
            if isinstance(value, Query):
                found[name] = cast("Query[..., Any]", value)
            else:
                found.pop(name, None)
    return found


def shown(container: Container) -> dict[str, Any]:
    """The fields as JSON values; what has no JSON form as its repr."""
    return container.model_dump(mode="json", fallback=_repr, warnings=False)


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # user code
        return f"<{type(value).__qualname__}, whose repr raised {type(error).__name__}>"


# --- what a class may be ---------------------------------------------------------


def _workflows_of(kind: type) -> Iterator[tuple[str, Workflow[..., Any]]]:
    seen: set[str] = set()
    for base in kind.__mro__:
        for name, value in list(vars(base).items()):
            if name not in seen and isinstance(value, Workflow):
                yield name, cast("Workflow[..., Any]", value)
            seen.add(name)


def _refuse_init(kind: type[Container]) -> None:
    for base in kind.__mro__:
        if base in Container.__mro__:
            continue
        found = vars(base).get("__init__")
        if found is not None:
            raise _refused(kind, "container-init", found)


def _refuse_required_fields(kind: type[Container]) -> None:
    for name, field in kind.__pydantic_fields__.items():
        if field.is_required():
            raise _refused(kind, "container-required-field", detail=name)


def _refused(kind: type, rule: str, at: Any = None, detail: str = "") -> CompileError:
    code = getattr(at, "__code__", None)
    if code is not None:
        file, line = code.co_filename, code.co_firstlineno
    else:
        file, line = _place_of(kind)
    return refusal(rule, name=declared_name(kind), file=file, line=line, detail=detail)


def _place_of(kind: type) -> tuple[str, int]:
    """Where the class begins, as far as its functions tell."""
    try:
        return inspect.getsourcefile(kind) or "?", inspect.getsourcelines(kind)[1]
    except (OSError, TypeError):
        return "?", 1


# --- saving ----------------------------------------------------------------------


def _class(kind: type) -> Any:
    """A container defined inside a function is saved by the name of its workflow."""
    if "<locals>" in kind.__qualname__ and issubclass(kind, Container):
        for _, workflow in _workflows_of(kind):
            if workflow.owner is kind:
                return (revive.container_class, (workflow.definition,))
    return NotImplemented


_reduce_class: Callable[[Any], Any] = _class
pickling.reduce_with(_Metaclass, _reduce_class)
