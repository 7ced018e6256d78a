"""Values made by `Depends` factories: given to a frame, left out of its state, given again.

Wherever such a value is met while an instance is saved, a reference is saved in its place:
which parameter of which durable function it was made for. So sharing survives: a closure and
a variable that held the same value hold the same new one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from raysume.compiler import revive
from raysume.durable import current_turn

if TYPE_CHECKING:
    from raysume.compiler.definitions import Definition

_UNMADE: Final[Any] = object()


class Given:
    """The value of one parameter with `Depends`, made when it is first asked for."""

    __slots__ = ("_value", "definition", "name")

    def __init__(self, definition: Definition, name: str) -> None:
        self.definition, self.name = definition, name
        self._value = _UNMADE

    @property
    def value(self) -> Any:
        """What the factory returned."""
        if self._value is _UNMADE:
            tried = _tried_with.get()
            if tried is not None:
                return self._among(tried)
            self._value = self.definition.dependencies[self.name].make()
            known = provided_now()
            if known is not None:
                known[id(self._value)] = self
        return self._value

    def _among(self, provided: Provided) -> Any:
        for one in provided.values():
            if one.name == self.name and one.definition.place == self.definition.place:
                return one.value
        return None

    def is_behind(self, value: Any) -> bool:
        """Whether the value is the one that was made."""
        return self._value is value

    def __reduce__(self) -> tuple[Any, ...]:
        return (revive.given, (self.definition, self.name))

    def __repr__(self) -> str:
        return repr(self.definition.dependencies.get(self.name, self.name))


Provided = dict[int, Given]
"""By id of the value: everything that was made for a loaded instance. Keeps the values alive,
so that their ids stay theirs."""


_kept: ContextVar[Provided | None] = ContextVar("raysume_provided", default=None)


def provided_now() -> Provided | None:
    """What was made for the instance whose turn it is, or since `keeping_provided`; else None."""
    found: Provided | None = getattr(current_turn.get(), "provided", None)
    return _kept.get() if found is None else found


@contextlib.contextmanager
def keeping_provided() -> Generator[None]:
    """Inside the block, what is loaded can be saved again, outside of any turn."""
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


_tried_with: ContextVar[Provided | None] = ContextVar("raysume_tried_with", default=None)


@contextlib.contextmanager
def loading_as_a_test(provided: Provided | None) -> Generator[None]:
    """Inside the block, what is loaded is given the values that exist: no factory is called."""
    token = _tried_with.set({} if provided is None else provided)
    try:
        yield
    finally:
        _tried_with.reset(token)


def give(definition: Definition, arguments: dict[str, Any]) -> dict[str, Given] | None:
    """The arguments that were left to `Depends` have values; by parameter, how they were made."""
    given: dict[str, Given] = {}
    for name, dependency in definition.dependencies.items():
        if arguments.get(name) is dependency:
            given[name] = Given(definition, name)
            arguments[name] = given[name].value
    return given or None


def give_again(local: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Given] | None]:
    """The variables of a saved frame with values for what was left out, and how these were made."""
    given = {name: value for name, value in local.items() if value.__class__ is Given}
    if not given:
        return local, None
    return {name: given[name].value if name in given else local[name] for name in local}, given


def leave_out(given: dict[str, Given], local: dict[str, Any], cells: dict[str, Any]) -> None:
    """Variables that hold a given value have the reference instead; captured ones get an entry."""
    for name, one in given.items():
        if name in local:
            if one.is_behind(local[name]):
                local[name] = one
        elif name in cells:
            try:
                if one.is_behind(cells[name].cell_contents):
                    local[name] = one
            except ValueError:
                continue  # deleted
