"""Says which variable cannot be saved, and why: looked for only once saving has failed."""

from __future__ import annotations

import copyreg
import io
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from raysume.compiler.states import FrameState, Frozen
from raysume.errors import UnsavableState
from raysume.steps import Step

_DEPTH_MAX: Final = 50
"""Steps from a variable to the part of it that cannot be saved; deeper parts are named as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Where:
    value: Any
    path: str = ""
    variable: str | None = None
    function: str | None = None
    file: str | None = None
    line: int | None = None


def unsavable(value: Any, error: BaseException, origin: str | None) -> UnsavableState:
    """The error for a value that could not be saved, naming the innermost culprit."""
    where, reason = _culprit(_Where(value=value), error)
    return _error(where, origin, reason, remedy_for(where.value, reason))


def unloadable(
    value: Any, error: BaseException, kinds: frozenset[type], origin: str | None
) -> UnsavableState:
    """The error for a value whose bytes cannot be loaded again."""
    found = (
        _culprit_of_loading(_Where(value=value)) if not isinstance(error, RecursionError) else None
    )
    where = found or _Where(value=value)
    names = ", ".join(sorted(kind.__qualname__ for kind in kinds))
    kind = type(where.value).__qualname__ if found else f"one of the types {names}"
    reason = f"{kind} is saved but cannot be loaded again: {type(error).__name__}: {error}"
    remedy = "Give the class a __reduce__ or __getstate__ and __setstate__ that fit each other."
    return _error(where, origin, reason, remedy)


def _error(where: _Where, origin: str | None, reason: str, remedy: str) -> UnsavableState:
    name = where.variable
    what = "the value" if name is None else f"variable {name!r}" if name.isidentifier() else name
    if where.path:
        what += f" (at {name or 'value'}{where.path})"
    place = f" of {where.function} ({where.file}:{where.line})" if where.function else ""
    beginning = f"{origin}: " if origin else ""
    return UnsavableState.by_rule(
        "unsavable-state",
        f"{beginning}{what}{place} cannot be saved: {reason}. {remedy}",
        variable=where.variable,
        path=(where.variable or "") + where.path,
        function=where.function,
        file=where.file,
        line=where.line,
        remedy=remedy,
    )


def _culprit(where: _Where, error: BaseException) -> tuple[_Where, str]:
    too_deep = isinstance(error, RecursionError)
    seen: set[int] = set()
    for _ in range(_DEPTH_MAX):
        seen.add(id(where.value))
        if too_deep and where.variable is not None:
            break
        for child in _children(where):
            if id(child.value) in seen:
                continue
            failure = _failure(child.value)
            if failure is not None:
                where, error = child, failure
                break
        else:
            break
    return where, "it is nested too deeply" if too_deep else str(error)


def _culprit_of_loading(where: _Where) -> _Where | None:
    from raysume.compiler.pickling import loads

    found = None
    for _ in range(_DEPTH_MAX):
        for child in _children(where):
            data = _dumped(child.value)
            if data is None:
                continue
            try:
                loads(data)
            except Exception:
                found = where = child
                break
        else:
            return found
    return found


def _failure(value: Any) -> BaseException | None:
    from raysume.compiler.pickling import plain_pickler

    try:
        plain_pickler(io.BytesIO()).dump(value)
    except Exception as error:
        return error
    return None


def _dumped(value: Any) -> bytes | None:
    from raysume.compiler.pickling import with_header

    try:
        return with_header(value)
    except Exception:
        return None


# --- the parts of a value --------------------------------------------------------


def _children(where: _Where) -> Iterator[_Where]:
    value: Any = where.value
    items: Any = value
    match value:
        case Frozen():
            for state in value.frames:
                yield from _variables(state)
            place = _place(value.frames[-1])
            step = isinstance(value.leaf, Step)
            yield replace(
                place, value=value.leaf, variable=repr(value.leaf) if step else "what it waits for"
            )
        case Step():
            yield from _arguments(where, value.args, value.kwargs)
        case dict():
            for key, inner in list(items.items()):
                yield replace(where, value=key, path=f"{where.path} key {key!r}"[:200])
                yield replace(where, value=inner, path=f"{where.path}[{key!r}]"[:200])
        case list() | tuple():
            for index, inner in enumerate(items):
                yield replace(where, value=inner, path=f"{where.path}[{index}]")
        case set() | frozenset():
            for inner in items:
                yield replace(where, value=inner, path=f"{where.path}{{...}}")
        case types.CellType():
            yield replace(where, value=value.cell_contents, path=where.path)
        case types.FunctionType():
            for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
                yield replace(where, value=cell, path=f"{where.path} captured {name!r}")
        case _:
            yield from _reduced_parts(where)


def _arguments(where: _Where, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[_Where]:
    for number, argument in enumerate(args, 1):
        yield replace(where, value=argument, path=f"{where.path} argument {number}")
    for name, argument in kwargs.items():
        yield replace(where, value=argument, path=f"{where.path} argument {name!r}")
    yield from _reduced_parts(where)


def _variables(state: FrameState) -> Iterator[_Where]:
    at = _place(state)
    for name, value in state.local.items():
        yield replace(at, value=value, variable=_shown(name))
    for name, cell in (state.cells or {}).items():
        yield replace(at, value=cell, variable=name)


def _place(state: FrameState) -> _Where:
    definition = state.definition
    line = definition.points[state.point - 1].line
    return _Where(value=None, function=definition.name, file=definition.filename, line=line)


def _shown(name: str) -> str:
    if not name.startswith("."):
        return name
    return {
        "i": "the iterator of a for loop",
        "e": "the exception being handled",
        "x": "the exception behind a finally",
        "v": "the value being returned",
    }.get(name[1], "a value computed before the wait in the same statement")


def _reduced_parts(where: _Where) -> Iterator[_Where]:
    from raysume.compiler.pickling import reduced

    value = where.value
    if isinstance(value, str | bytes | int | float | complex | type | None):
        return
    try:
        parts: Any = reduced(value)
    except Exception:
        return
    if parts.__class__ is not tuple:
        return
    every: list[Any] = [*parts, None, None, None, None, None][:5]
    rebuild, args, state, *sequences = every
    if rebuild is not copyreg.__newobj__:  # type: ignore[attr-defined]
        yield replace(where, value=args)
    if isinstance(state, dict):
        for name, inner in _attributes_in(state):
            yield replace(where, value=inner, path=f"{where.path}.{name}")
    elif state is not None:
        yield replace(where, value=state)
    for items in sequences:
        if items is not None:
            yield replace(where, value=list(items))


def _attributes_in(state: Any) -> Iterator[tuple[str, Any]]:
    """The attributes that a reduced object's state gives."""
    yield from state.items()


# --- remedies --------------------------------------------------------------------

_EMPTY: Final[dict[Any, Any]] = {}
_VIEWS: Final = (type(_EMPTY.keys()), type(_EMPTY.values()), type(_EMPTY.items()))


def remedy_for(value: Any, reason: str) -> str:
    """What the author can do about a value of this kind."""
    match value:
        case types.GeneratorType() | types.AsyncGeneratorType():
            return "Make a list of the generator's items before the wait."
        case types.CoroutineType():
            return "Await it where it is made, or decorate its function with @subflow."
        case io.IOBase():
            return "Close the file before the wait and open it again behind it; keep its path."
        case type():
            return "Define the class in the module instead of in the function."
        case types.FunctionType():
            return "Define the function in the module or in the workflow itself."
        case _ if isinstance(value, _VIEWS):
            return "Make a list of the view: list(...)."
        case _ if "local object" in reason or "<locals>" in type(value).__qualname__:
            return "Define the class in the module instead of in the function."
        case _ if type(value).__name__ in ("lock", "RLock", "Lock", "Condition", "Semaphore"):
            return "Do not hold locks across a wait: saved state has one owner anyway."
        case _ if "nested too deeply" in reason:
            return "Keep it flat, e.g. in a list, instead of linked."
        case _:
            return (
                "Do not keep it in a variable that is used behind the wait, or give its class a "
                "__reduce__."
            )
