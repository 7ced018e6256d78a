"""Changing variables of a suspended instance, before it is entered again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

from raysume.actors.kernel.branches import Branch, GroupLeaf
from raysume.compiler import FrameState
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
            cell.cell_contents = _fitting(name, value, _contents(cell))
            return
        if name in frame.local:
            frame.local[name] = _fitting(name, value, frame.local[name])
            return
    container = root.container
    if container is not None and name in type(container).model_fields:
        annotation: Any = type(container).model_fields[name].annotation
        setattr(container, name, _validated(name, value, annotation))
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


def _fitting(name: str, value: Any, present: Any) -> Any:
    if present is None or value is None or type(value) is type(present):
        return value
    return _validated(name, value, type(present))


def _validated(name: str, value: Any, type_: Any) -> Any:
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
