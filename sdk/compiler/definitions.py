"""Durable functions as values: definitions, and calls of subflows.

A definition is saved by name and place, a subflow nested in a durable function by its place
in that function and its cells.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from functools import cached_property
from types import CellType, CoroutineType, FunctionType, MethodType
from typing import Any, ClassVar, Literal

from raysume.compiler import durability, forewarning, giving, revive, typed_locals
from raysume.compiler.compiled import Compiled, Point, compiled_of, place_of_nested
from raysume.compiler.finding import register
from raysume.compiler.refusals import refusal
from raysume.dependencies import Dependency
from raysume.durable import Durable, current_turn

Kind = Literal["workflow", "subflow"]


class Frame:
    """What a running durable function holds of itself."""

    __slots__ = ("cells", "definition", "given", "restored")

    def __init__(
        self,
        definition: Definition,
        cells: dict[str, CellType],
        restored: Any,
        given: dict[str, giving.Given] | None,
    ) -> None:
        self.definition = definition
        self.cells = cells
        """Its own captured variables."""
        self.restored = restored
        """What to await at the saved point; None once started from the beginning."""
        self.given = given
        """By parameter: the values that `Depends` made for it."""


class Definition:
    """One durable `async def`, with its closure and defaults. Calling it gives a SubflowCall."""

    name: str
    """As declared: "approval", "Class.method"."""
    kind: Kind
    function: Any
    """The user's function, a FunctionType (which type checkers would take for a method)."""
    compiled: Compiled
    place: tuple[str, str]
    """Module and qualified name."""
    nested: bool
    """Whether it is defined in another durable function, whose state its closure is."""
    owner: type | None
    """The class whose workflow it is, if it is a Container's."""
    dependencies: dict[str, Dependency]
    """By parameter: the defaults that `Depends` makes."""

    is_checked: bool = False
    """Whether it was checked again since all names are defined, by whoever runs it."""

    __raysume_durable__: ClassVar[bool] = True
    workflow: Any = None
    """The Workflow that this is the code of."""

    def __init__(
        self, function: FunctionType, compiled: Compiled, *, name: str, kind: Kind
    ) -> None:
        self.name, self.kind = name, kind
        self.function = function
        self.compiled = compiled
        self.nested = bool(compiled.path)
        self.owner = None
        self.place = (function.__module__, function.__qualname__)
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__
        self._bind: Any = FunctionType(
            compiled.binder, {}, function.__name__, function.__defaults__
        )
        self._bind.__kwdefaults__ = function.__kwdefaults__
        self.dependencies = _dependencies_of(function)
        self._own = (*compiled.shared, *compiled.lent)
        self._free = dict(
            zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        )
        self._made: Any = None
        self._reduced: tuple[Any, ...] = (revive.definition, (name, *self.place))
        self.stands_alone = not (self.nested or self._free or self.dependencies)
        """Whether its saved frames need nothing but its name: no variables around it, no `Depends`."""
        if self.nested:
            self._reduced = (revive.nested_subflow, (function, name))

    @property
    def filename(self) -> str:
        """The file that defines it."""
        return self.compiled.source.filename

    @property
    def first_line(self) -> int:
        """The line of its `async def` or first decorator."""
        line: int = self.function.__code__.co_firstlineno
        return line

    @property
    def points(self) -> tuple[Point, ...]:
        """Where it can be suspended."""
        return self.compiled.points

    @cached_property
    def signature(self) -> inspect.Signature:
        """The signature of the user's function."""
        return inspect.signature(self.function)

    @property
    def __wrapped__(self) -> Any:
        return self.function

    @cached_property
    def inline(self) -> bool:
        """Whether all its awaits are known to be durable, so that a turn needs no asyncio task.

        Asked for the first time when all names are defined, e.g. at deployment.
        """
        return durability.is_inline(self) and not getattr(self.owner, "has_hooks", False)

    def check(self) -> None:
        """No wait lacks a match or stands where it, or what is kept across it, cannot be saved,
        as far as names tell now.

        Raises:
            CompileError: one does.
        """
        durability.refuse_opaque_waits(self)
        typed_locals.refuse_unsavable_locals(self)
        forewarning.refuse_later_waits(self)

    def __call__(self, *args: Any, **kwargs: Any) -> SubflowCall:
        self._bind(*args, **kwargs)
        return SubflowCall(self, args, kwargs)

    def begin(self, *args: Any, **kwargs: Any) -> CoroutineType[Any, Any, Any]:
        """A new coroutine that has not started.

        Raises:
            TypeError: the arguments do not fit the signature.
        """
        arguments: dict[str, Any] = self._bind(*args, **kwargs)
        given = giving.give(self, arguments) if self.dependencies else None
        cells: dict[str, CellType] = {}
        for name in self._own:
            cells[name] = CellType(arguments.pop(name)) if name in arguments else CellType()
        return self.enter(0, arguments, cells, None, given)

    def enter(
        self,
        point: int,
        local: dict[str, Any],
        cells: dict[str, CellType],
        restored: Any,
        given: dict[str, giving.Given] | None = None,
    ) -> CoroutineType[Any, Any, Any]:
        """A coroutine that will walk to the point and await `restored` there (0: the beginning)."""
        function = self._made
        if function is None:
            free, code = self._free, self.compiled.code
            closure = tuple(
                cells[name] if name in cells else free[name] for name in code.co_freevars
            )
            function = FunctionType(
                code, self.function.__globals__, self.function.__name__, None, closure
            )
            if not cells:
                self._made = function
        frame = Frame(self, cells, restored, given)
        made: CoroutineType[Any, Any, Any] = function(frame, point, local)
        return made

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reduced

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name} {self.filename}:{self.first_line}>"


def _dependencies_of(function: FunctionType) -> dict[str, Dependency]:
    code, defaults = function.__code__, function.__defaults__ or ()
    named = dict(zip(reversed(code.co_varnames[: code.co_argcount]), reversed(defaults)))  # noqa: B905
    named.update(function.__kwdefaults__ or {})
    return {name: value for name, value in named.items() if isinstance(value, Dependency)}


class SubflowCall(Durable):
    """A call of a subflow that has not been entered: a plain value that can be saved."""

    __slots__ = ("args", "definition", "kwargs")
    durable_kind: ClassVar[str] = "subflow"

    definition: Definition
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __init__(
        self, definition: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.definition, self.args, self.kwargs = definition, args, kwargs

    def begin(self) -> CoroutineType[Any, Any, Any]:
        """A new coroutine of the subflow with these arguments."""
        made: CoroutineType[Any, Any, Any] = self.definition.begin(*self.args, **self.kwargs)
        return made

    def __await__(self) -> Generator[Any, Any, Any]:
        outside = super().__await__()
        next(outside)  # refused outside a turn, and in a task of the user's own
        outside.close()
        result: Any = yield from _awaited(enter(self))
        return result

    def __reduce__(self) -> tuple[Any, ...]:
        return (SubflowCall, (self.definition, self.args, self.kwargs))

    def __repr__(self) -> str:
        return f"<call of {self.definition.name}>"


def enter(value: Any) -> Any:
    """What a durable function awaits for `value`: a subflow's own coroutine, or the value."""
    if value.__class__ is not SubflowCall:
        return value
    made: Any = value.definition.begin(*value.args, **value.kwargs)
    turn: Any = current_turn.get()
    entered = getattr(turn, "entered", None)
    if entered is not None:
        entered(value.definition.name, made)
    return made


def _awaited(coroutine: Any) -> Generator[Any, Any, Any]:
    made: Generator[Any, Any, Any] = coroutine.__await__()
    return made


# --- compiling -------------------------------------------------------------------


def compile_workflow(function: Callable[..., Any], *, name: str) -> Definition:
    """The function as a durable workflow, registered by its name.

    Raises:
        CompileError: it cannot be made durable as it is written; `details` says where and why.
    """
    code = getattr(function, "__code__", None)
    if code is not None and place_of_nested(code) is not None:
        raise refusal(
            "workflow-in-workflow", name=name, file=code.co_filename, line=code.co_firstlineno
        )
    return _defined(function, name=name, kind="workflow")


def compile_subflow(function: Callable[..., Any], *, name: str | None = None) -> Definition:
    """The function as a durable subflow; registered unless it is part of a durable function.

    Args:
        name: by default the function's name, `Class.method` for methods.

    Raises:
        CompileError: it cannot be made durable as it is written; `details` says where and why.
    """
    qualname = getattr(function, "__qualname__", repr(function))
    return _defined(function, name=name or qualname.rpartition("<locals>.")[2], kind="subflow")


def _defined(function: Any, *, name: str, kind: Kind) -> Definition:
    compiled = compiled_of(function, name=name)
    definition = Definition(function, compiled, name=name, kind=kind)
    if not definition.nested:
        definition.check()
        forewarning.warn_of_unmarked_subflows(definition)
        register(definition)
    return definition
