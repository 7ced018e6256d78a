"""Changing variables of a suspended instance, before it is entered again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from raysume.actors.kernel.branches import Branch, GroupLeaf
from raysume.compiler import FrameState
from raysume.conversions import converted, like
from raysume.errors import UsageError


def patch(root: Branch, name: str, value: Any) -> None:
    """The variable has the value, in the innermost frame in which it is live.

    A value that is not of the present value's type is converted as pydantic does it, so that
    JSON will do. Without such a variable, it is the container's field of that name.

    Raises:
        UsageError: nothing of that name is live there, or the value does not fit.
    """
    frames = list(_frames(root))
    for frame in reversed(frames):
        cell = (frame.cells or {}).get(name)
        if cell is not None:
            cell.cell_contents = like(_contents(cell), value, name=name)
            return
        if name in frame.local:
            frame.local[name] = like(frame.local[name], value, name=name)
            return
    container = root.container
    if container is not None and name in type(container).model_fields:
        annotation: Any = type(container).model_fields[name].annotation
        setattr(container, name, converted(value, annotation, name=name))
        return
    live = sorted({name for frame in frames for name in _names(frame)})
    if container is not None:
        live += sorted(type(container).model_fields)
    raise UsageError(
        f"there is no variable {name[:200]!r} to set at this point: it is not live there, so its "
        f"value would never be read. Live are: {', '.join(live) or 'none'}."
    )


def _frames(branch: Branch) -> Iterator[FrameState]:
    """The frames of members first: those of the branch itself are nearer to the whole workflow."""
    if isinstance(branch.leaf, GroupLeaf):
        for member in branch.leaf.branches:
            yield from _frames(member)
    if branch.frozen is not None:
        yield from branch.frozen.frames


def _names(frame: FrameState) -> Iterator[str]:
    yield from (name for name in (*frame.local, *(frame.cells or ())) if not name.startswith("."))


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return None
