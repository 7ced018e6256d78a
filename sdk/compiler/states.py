"""Suspended coroutines as plain values."""

from __future__ import annotations

from types import CellType
from typing import TYPE_CHECKING, Any

from raysume.compiler import revive
from raysume.durable import Durable

if TYPE_CHECKING:
    from raysume.compiler.definitions import Definition


class FrameState:
    """One frame: where a durable function is suspended, and with which variables."""

    __slots__ = ("cells", "definition", "local", "point")

    def __init__(
        self,
        definition: Definition,
        point: int,
        local: dict[str, Any],
        cells: dict[str, CellType] | None = None,
    ) -> None:
        self.definition, self.point, self.local, self.cells = definition, point, local, cells


class Frozen:
    """A suspended coroutine as data: frames from the outermost to the innermost, and the leaf.

    It shares its values with the coroutine. Pickled inside a larger graph, everything that is
    shared stays shared. To be thawed once.
    """

    __slots__ = ("frames", "leaf")

    def __init__(self, frames: tuple[FrameState, ...], leaf: Durable) -> None:
        self.frames, self.leaf = frames, leaf

    def __reduce__(self) -> tuple[Any, ...]:
        parts: list[Any] = [self.leaf]
        for f in self.frames:
            parts.append(
                (f.definition, f.point, f.local, f.cells)
                if f.cells
                else (f.definition, f.point, f.local)
            )
        return (revive.frozen, tuple(parts))
