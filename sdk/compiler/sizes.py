"""How large the variables of a suspended workflow are when they are saved."""

from __future__ import annotations

from dataclasses import dataclass

from raysume.compiler.pickling import dumps
from raysume.compiler.states import Frozen


@dataclass(frozen=True, slots=True, kw_only=True)
class VariableSize:
    """What one variable adds to the saved state."""

    definition: str
    variable: str
    size: int
    """Bytes when saved by itself: what several variables share counts for each."""


def largest_variables(frozen: Frozen, *, count: int) -> list[VariableSize]:
    """The variables that take most of the saved state, the largest first.

    For a state above limits.STATE_REPORT_BYTES, to say where it comes from: it saves every
    variable by itself, which costs as much as saving the whole again.
    """
    sizes: list[VariableSize] = []
    for state in frozen.frames:
        name = state.definition.name
        for variable, value in (*state.local.items(), *(state.cells or {}).items()):
            size = len(dumps(value))
            sizes.append(VariableSize(definition=name, variable=variable.lstrip("."), size=size))
    return sorted(sizes, key=lambda each: -each.size)[:count]
