"""Suspended coroutines as data, and back.

A coroutine of a durable function is suspended at one of its points, on a leaf or on the
coroutine of a subflow, whose frame is saved behind its own. The locals of a frame say where it
stands (`.pc`) and on what (`.w`); nothing else of CPython's is looked at.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from types import CellType, CoroutineType
from typing import TYPE_CHECKING, Any, cast

from raysume.compiler import giving
from raysume.compiler.definitions import Definition, Frame
from raysume.compiler.states import FrameState, Frozen
from raysume.compiler.syntax import AWAITED, FRAME, PC
from raysume.durable import Durable
from raysume.errors import UsageError

if TYPE_CHECKING:
    Coroutine = CoroutineType[Any, Any, Any]


class _Resumed:
    """Awaited at a saved point in the place of the leaf: yields it without asking it again."""

    __slots__ = ("leaf",)

    def __init__(self, leaf: Durable) -> None:
        self.leaf = leaf

    def __await__(self) -> Generator[Durable, Any, Any]:
        return (yield self.leaf)


_PLACE: Any = _Resumed(cast("Durable", None))
"""Stands for a leaf that nobody looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameView:
    """One frame of a suspended workflow, for showing."""

    definition: str
    file: str
    line: int
    point: int
    locals: dict[str, Any]


def freeze(coroutine: Coroutine) -> Frozen:
    """The coroutine as data; it may still go on afterwards.

    Raises:
        UsageError: it is not suspended at a durable value, or through code that is not durable.
    """
    frames: list[FrameState] = []
    current: Any = coroutine
    while True:
        names = _locals(current)
        frame: Frame = names[FRAME]
        point: int = names[PC]
        if point <= 0:
            raise _opaque(current, frame.definition)
        compiled = frame.definition.compiled
        local = {name: names[name] for name in compiled.live[point] if name in names}
        cells = frame.cells
        if compiled.lent:
            cells = {name: cells[name] for name in compiled.shared}
        if frame.given is not None:
            giving.leave_out(frame.given, local, cells)
        frames.append(FrameState(frame.definition, point, local, cells))
        awaited = names.get(AWAITED)
        names.clear()  # it is the frame's own, and would keep old values alive
        if isinstance(awaited, Durable):
            return Frozen(tuple(frames), awaited)
        if type(awaited) is _Resumed:
            return Frozen(tuple(frames), awaited.leaf)
        if awaited.__class__ is not CoroutineType:
            raise _not_durable(current, awaited, frame.definition, point)
        current = awaited


def thaw(frozen: Frozen) -> Coroutine:
    """A coroutine that has not started; its first `send(None)` yields the leaf and runs no user code."""
    inner: Any = _Resumed(frozen.leaf)
    for state in reversed(frozen.frames):
        compiled = state.definition.compiled
        cells = dict(state.cells) if state.cells else {}
        local, given = state.local, None
        if state.definition.dependencies:
            local, given = giving.give_again(local)
        for name in compiled.lent:
            cells[name] = CellType(local[name]) if name in local else CellType()
        if given is not None:
            local = {name: value for name, value in local.items() if name not in cells}
        inner = state.definition.enter(state.point, local, cells, inner, given)
    return cast("Coroutine", inner)


def enter(state: FrameState) -> Coroutine | None:
    """A coroutine of this one frame, suspended on something in the place of its leaf.

    None: it takes more than its point and its own variables; `thaw` does it.
    """
    definition = state.definition
    if definition.compiled.lent or definition.dependencies:
        return None
    made = definition.enter(state.point, state.local, {}, _PLACE)
    return made if made.send(None) is None else None


def frame_at(coroutine: Coroutine, leaf: Durable) -> FrameState | None:
    """The only frame of a coroutine that awaits the leaf itself, if it needs nothing around it.

    None: it awaits something else, or has variables that others share; `freeze` tells.
    """
    suspended = coroutine.cr_frame
    names: dict[str, Any] = {} if suspended is None else suspended.f_locals
    frame: Frame | None = names.get(FRAME)
    if frame is None or names.get(AWAITED) is not leaf or frame.cells or frame.given is not None:
        return None
    point: int = names[PC]
    if point <= 0:
        return None
    live = frame.definition.compiled.live[point]
    local = {name: names[name] for name in live if name in names}
    names.clear()  # it is the frame's own, and would keep old values alive
    return FrameState(frame.definition, point, local)


def leaf_of(coroutine: Coroutine) -> Durable | None:
    """The durable value on which the coroutine is suspended; None when it is on nothing such."""
    current: Any = coroutine
    while type(current) is CoroutineType:
        frame = current.cr_frame
        if frame is None:
            return None
        current = frame.f_locals.get(AWAITED)
    if type(current) is _Resumed:
        return current.leaf
    return current if isinstance(current, Durable) else None


def frames_of(suspended: Coroutine | Frozen) -> list[FrameView]:
    """The frames of a suspended workflow with the user's variables, outermost first."""
    if isinstance(suspended, Frozen):
        return [_view(s.definition, s.point, s.local, s.cells or {}) for s in suspended.frames]
    return list(_live_views(suspended))


def _live_views(coroutine: Coroutine) -> Iterator[FrameView]:
    current: Any = coroutine
    while type(current) is CoroutineType and current.cr_frame is not None:
        names = current.cr_frame.f_locals
        frame = names.get(FRAME)
        if not isinstance(frame, Frame):
            return
        point: int = max(names[PC], 0)
        live = frame.definition.compiled.live[point]
        local = {name: names[name] for name in live if name in names}
        cells = {n: c for n, c in frame.cells.items() if n in frame.definition.compiled.shared}
        if frame.given is not None:
            giving.leave_out(frame.given, local, cells)
        view = _view(frame.definition, point, local, cells)
        line: int = current.cr_frame.f_lineno
        if point:
            yield view
        else:
            yield FrameView(
                definition=view.definition, file=view.file, line=line, point=0, locals=view.locals
            )
        current = names.get(AWAITED)


def subflows_of(coroutine: Coroutine) -> list[Coroutine]:
    """The coroutines of the subflows in which a suspended workflow is, outermost first."""
    found: list[Coroutine] = []
    frame = coroutine.cr_frame
    while frame is not None:
        inside: Any = frame.f_locals.get(AWAITED)
        if inside.__class__ is not CoroutineType:
            break
        found.append(inside)
        frame = inside.cr_frame
    return found


def _view(
    definition: Definition, point: int, local: dict[str, Any], cells: dict[str, CellType]
) -> FrameView:
    given = [name for name, value in local.items() if value.__class__ is giving.Given]
    shown = {
        name: value
        for name, value in local.items()
        if not name.startswith(".") and name not in given
    }
    for name, cell in cells.items():
        if name in given:
            continue
        try:
            shown[name] = cell.cell_contents
        except ValueError:
            continue  # not bound yet
    points = definition.points
    return FrameView(
        definition=definition.name,
        file=definition.filename,
        line=points[point - 1].line if point else definition.first_line,
        point=point,
        locals=shown,
    )


# --- refusals --------------------------------------------------------------------


def _locals(coroutine: Coroutine) -> dict[str, Any]:
    frame = coroutine.cr_frame
    if frame is None:
        raise _not_started(coroutine)
    names = frame.f_locals
    if FRAME not in names:
        code = coroutine.cr_code
        raise UsageError.by_rule(
            "unmarked-subflow",
            f"{coroutine.__qualname__} ({code.co_filename}:{frame.f_lineno}) waits, but is not "
            "durable: what it does cannot be saved. Decorate it with @subflow.",
            file=code.co_filename,
            line=frame.f_lineno,
            coroutine=coroutine.__qualname__,
        )
    return names


def _not_started(coroutine: Coroutine) -> UsageError:
    return UsageError(f"{coroutine.__qualname__} is not suspended, so it cannot be saved.")


def _opaque(coroutine: Coroutine, definition: Definition) -> UsageError:
    if not coroutine.cr_suspended:
        return _not_started(coroutine)
    frame = coroutine.cr_frame
    line = definition.first_line if frame is None else frame.f_lineno
    return UsageError(
        f"{definition.name} waits at {definition.filename}:{line} inside `with`, `async with`, "
        "`async for`, a comprehension or a handler of `except*`, which cannot be saved. Move "
        "the wait out of the block.",
        file=definition.filename,
        line=line,
    )


def _not_durable(
    coroutine: Coroutine, awaited: Any, definition: Definition, point: int
) -> UsageError:
    if not coroutine.cr_suspended:
        return _not_started(coroutine)
    line = definition.points[point - 1].line
    return UsageError(
        f"{definition.name} is suspended at {definition.filename}:{line} on "
        f"{type(awaited).__name__}, which is not durable. Await waits, groups, sleeps, steps and "
        "subflows directly.",
        file=definition.filename,
        line=line,
    )
