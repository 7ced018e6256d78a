"""Values to bytes and back: pickle protocol 5, taught to save what closures and frames need.

What pickle itself refuses or gets wrong is named by `revive`: cells, functions, methods,
exceptions, modules, `super()`. Nothing is saved that this process could not load: state that
holds a type for the first time is loaded once as a test.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import pickle
from collections.abc import Callable, Generator, Mapping
from contextvars import ContextVar
from types import CellType, CoroutineType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from raysume.compiler import functions, revive, surroundings
from raysume.compiler.definitions import Definition
from raysume.compiler.giving import Given, Provided, loading_as_a_test, provided_now
from raysume.compiler.states import FrameState, Frozen
from raysume.errors import UnsavableState, UsageError

SNAPSHOT_FORMAT: Final = 1
"""The format of saved values. Later releases read every format from 1 on; 2 is taken, by
`raysume.actors.kernel.trees`."""

_HEADER: Final = bytes([0xF5, SNAPSHOT_FORMAT])
_UNKNOWN: Final = object()
_type: Final[Any] = type  # not narrowed by type checkers
_REVIVE: Final = revive.__name__


def dumps(
    value: Any,
    *,
    origin: str | None = None,
    provided: Provided | None = None,
    around: Definition | None = None,
) -> bytes:
    """The value as bytes that `loads` turns into an equal one, sharing within it kept.

    Args:
        origin: what is saved, for messages.
        provided: the values made by `Depends`, saved as references; those of the turn by default.
        around: a definition whose surroundings are saved by name, also where no frame of it is met.

    Raises:
        UnsavableState: part of it cannot be saved; says which variable, where, and the remedy.
    """
    buffer = io.BytesIO()
    buffer.write(_HEADER)
    pickler = _pickler(buffer, provided)
    if around is not None and around.function.__closure__:
        pickler.look_around(around)
    try:
        pickler.dump(value)
    except Exception as error:
        from raysume.compiler.diagnosis import unsavable

        with _diagnosing(pickler.provided):
            raise unsavable(value, error, origin) from error
    data = buffer.getvalue()
    if pickler.unproved:
        with _diagnosing(pickler.provided):
            _prove(value, data, pickler.unproved, origin)
    return data


def loads(data: bytes) -> Any:
    """The value that was saved.

    Raises:
        UsageError: it was saved in a format that this release does not know.
    """
    if data[:2] != _HEADER:  # the only format so far
        raise UsageError(
            "this saved value is not in a format that this release reads (up to "
            f"{SNAPSHOT_FORMAT}). Use the release that saved it, or a later one."
        )
    return pickle.loads(memoryview(data)[2:])


def is_self_contained(data: bytes) -> bool:
    """Whether `loads` gives the same values whenever it is called.

    False where something may be found anew: a value made by `Depends`, or what is around a durable
    function.
    """
    return not any(code in data for code in revive.FOUND_ANEW)


class _Pickler(pickle.Pickler):
    # No `__init__`: making a pickler would take twice as long.
    unproved: frozenset[type] = frozenset()
    """Types met that this process has not loaded yet."""
    around: Mapping[int, tuple[Any, Any]] | None = None
    """id of a cell or function that is not saved itself -> (how to find it, itself)."""
    provided: Provided | None = None
    """By id: values that are not saved because `Depends` makes them."""

    def reducer_override(self, obj: Any) -> Any:
        if self.provided is not None and id(obj) in self.provided:
            return (revive.given_value, (self.provided[id(obj)],))
        kind: Any = _type(obj)
        reducer = _reducers.get(kind, _UNKNOWN)
        if reducer is None or (kind is FunctionType and obj.__module__ == _REVIVE):
            return NotImplemented
        if reducer is _UNKNOWN:
            self.unproved |= {kind}
            return _exception(obj) if isinstance(obj, BaseException) else NotImplemented
        if kind is Frozen:
            for frame in obj.frames:
                if frame.definition.function.__closure__:
                    self.look_around(frame.definition)
                if frame.cells and frame.definition.dependencies:
                    self._leave_out(frame)
            return obj.__reduce__()
        if self.around is not None and id(obj) in self.around:
            return self.around[id(obj)][0]
        if kind is FunctionType:
            root = functions.surrounded_root(obj)
            if root is not None:
                self.look_around(root)
        return reducer(obj)

    def look_around(self, definition: Any) -> None:
        """Cells and functions that the definition sees from outside are saved by name."""
        known: dict[int, tuple[Any, Any]] = dict(self.around or {})
        for found, way in surroundings.around(definition):
            rebuild = revive.surrounding_cell if isinstance(found, CellType) else revive.surrounding
            known[id(found)] = ((rebuild, (definition, way)), found)
        self.around = known

    def _leave_out(self, frame: FrameState) -> None:
        """Cells that hold a given value are not saved: values of any kind, also plain ones."""
        known: dict[int, tuple[Any, Any]] = dict(self.around or {})
        for name, cell in (frame.cells or {}).items():
            given = frame.local.get(name)
            if given.__class__ is Given:
                known[id(cell)] = ((revive.given_cell, (given,)), cell)
        self.around = known


_diagnosed: ContextVar[Provided | None] = ContextVar("raysume_diagnosed", default=None)


@contextlib.contextmanager
def _diagnosing(provided: Provided | None) -> Generator[None]:
    token = _diagnosed.set(provided)
    try:
        with loading_as_a_test(provided):
            yield
    finally:
        _diagnosed.reset(token)


def _pickler(file: io.BytesIO, provided: Provided | None) -> _Pickler:
    made = _Pickler(file, 5)
    if provided is None:
        provided = provided_now()
    if provided:
        made.provided = provided
    return made


def plain_pickler(file: io.BytesIO) -> pickle.Pickler:
    """A pickler like that of `dumps`, for looking for the part that fails."""
    return _pickler(file, _diagnosed.get())


def with_header(value: Any) -> bytes:
    """What `dumps` gives, without any diagnosis."""
    buffer = io.BytesIO()
    buffer.write(_HEADER)
    _pickler(buffer, _diagnosed.get()).dump(value)
    return buffer.getvalue()


def reduced(value: Any) -> Any:
    """The parts that pickling takes the value apart into."""
    own = _pickler(io.BytesIO(), _diagnosed.get()).reducer_override(value)
    return value.__reduce_ex__(5) if own is NotImplemented else own


def _prove(value: Any, data: bytes, kinds: frozenset[type], origin: str | None) -> None:
    try:
        loads(data)
    except Exception as error:
        from raysume.compiler.diagnosis import unloadable

        raise unloadable(value, error, kinds, origin) from error
    for kind in kinds:
        _reducers[kind] = _exception if issubclass(kind, BaseException) else None


def _cell(cell: CellType) -> tuple[Any, ...]:
    try:
        content = cell.cell_contents
    except ValueError:
        return (revive.cell, ())
    return (revive.cell, (), (content,), None, None, revive.fill_cell)


def _function(function: FunctionType) -> Any:
    return functions.reduced(function) or NotImplemented


def _method(method: MethodType) -> tuple[Any, ...]:
    return (revive.method, (method.__func__, method.__self__))


def _module(module: ModuleType) -> tuple[Any, ...]:
    return (importlib.import_module, (module.__name__,))


def _super(bound: Any) -> tuple[Any, ...]:
    own = object.__getattribute__
    return (super, (own(bound, "__thisclass__"), own(bound, "__self__")))


def _exception(error: BaseException) -> Any:
    kind = type(error)
    reduced: Any = error.__reduce_ex__(5)
    if reduced.__class__ is not tuple:
        return NotImplemented
    parts: list[Any] = [*reduced, None]
    rebuild, args, attributes = parts[:3]
    own = kind.__reduce__, kind.__reduce_ex__
    if not any(isinstance(each, FunctionType) for each in own):
        rebuild, args = revive.exception, (kind, *args)
    state = (
        attributes,
        error.__cause__,
        error.__context__,
        error.__suppress_context__,
        traceback_text(error),
    )
    return (rebuild, args, state, None, None, revive.set_exception)


def reduce_with(kind: type, reducer: Callable[[Any], Any]) -> None:
    """Values of the type are saved as the reducer says; NotImplemented leaves it to pickle."""
    _reducers[kind] = reducer


def traceback_text(error: BaseException) -> str:
    """The traceback of an exception as text, also of one that was loaded; empty without any."""
    text: str = error.__dict__.get(revive.TRACEBACK, "")
    if error.__traceback__ is None:
        return text
    import traceback

    return text + "".join(traceback.format_tb(error.__traceback__))


def _coroutine(coroutine: CoroutineType[Any, Any, Any]) -> Any:
    raise UnsavableState(
        f"the coroutine {coroutine.__qualname__} cannot be saved. Await it where it is made, "
        "or decorate its function with @subflow and keep the call."
    )


_reducers: Final[dict[type, Any]] = {
    CellType: _cell,
    FunctionType: _function,
    MethodType: _method,
    ModuleType: _module,
    CoroutineType: _coroutine,
    super: _super,
    Definition: Definition.__reduce__,
    Frozen: Frozen.__reduce__,
    Given: Given.__reduce__,
    type: None,
}
"""How to reduce values of a type: a function, or None for pickle's own way."""
