"""The variables around a durable function: part of its definition, not of any instance's state.

A workflow defined inside a function sees that function's variables. They are saved by
name, with the functions found in them and what those see in turn, so that an instance
loaded again shares them with everybody else instead of having copies.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import CellType, FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raysume.compiler.definitions import Definition

Way = tuple[str, ...]
"""Names of free variables: of the durable function, of the function found there, and so on."""


def around(definition: Definition) -> Iterator[tuple[CellType | FunctionType, Way]]:
    """The cells that the durable function sees, the functions in them, and the way to each."""
    if definition.nested:
        return
    seen: set[int] = set()
    waiting: list[tuple[FunctionType, Way]] = [(definition.function, ())]
    while waiting:
        function, way = waiting.pop()
        names = function.__code__.co_freevars
        for name, cell in zip(names, function.__closure__ or (), strict=True):
            if id(cell) in seen:
                continue
            seen.add(id(cell))
            yield cell, (*way, name)
            content = content_of(cell)
            if isinstance(content, FunctionType):
                yield content, (*way, name)
                waiting.append((content, (*way, name)))


def content_of(cell: CellType) -> Any:
    """What the cell holds; None when it is empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def cell_at(definition: Definition, way: Way) -> CellType:
    """The cell that `around` found on this way.

    Raises:
        LookupError: the function no longer sees such a variable.
    """
    function = definition.function
    for name in way[:-1]:
        function = content_of(_cell_of(function, name))
        if not isinstance(function, FunctionType):
            raise LookupError(f"{name} is no function any more")  # noqa: TRY004
    return _cell_of(function, way[-1])


def _cell_of(function: FunctionType, name: str) -> CellType:
    names = function.__code__.co_freevars
    if name not in names:
        raise LookupError(f"{function.__qualname__} does not see a variable {name} any more")
    return (function.__closure__ or ())[names.index(name)]
