"""Where definitions are found again when saved state is loaded.

Loading looks in the scope of the running shell or pool first, then among the definitions of
the process, then in the module that is named.
"""

from __future__ import annotations

import contextlib
import importlib
import weakref
from collections.abc import Generator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from raysume.errors import UsageError

if TYPE_CHECKING:
    from raysume.compiler.definitions import Definition

Place = tuple[str, str]
_of_modules: Final[dict[str | Place, Definition]] = {}
_of_functions: Final[weakref.WeakValueDictionary[str | Place, Definition]] = (
    weakref.WeakValueDictionary()
)
_scope: ContextVar[Mapping[str, Any] | None] = ContextVar("raysume_definitions", default=None)


def register(definition: Definition) -> None:
    """The definition is found by its name and its place; the last one registered counts."""
    local = "<locals>" in definition.place[1]
    for key in (definition.name, definition.place):
        if local:
            _of_modules.pop(key, None)
            _of_functions[key] = definition
        else:
            _of_modules[key] = definition


@contextlib.contextmanager
def definitions_scope(definitions: Mapping[str, Any]) -> Generator[None]:
    """Inside the block, loading finds these definitions by name before those of the process.

    Args:
        definitions: definitions, or objects with a `.definition`, by declared name.
    """
    token = _scope.set(definitions)
    try:
        yield
    finally:
        _scope.reset(token)


def definition_of(name: str, module: str, qualname: str) -> Definition:
    """The definition of this name, preferably the one at this place.

    Raises:
        UsageError: there is none, also after importing the module.
    """
    place = (module, qualname)
    scope = _scope.get()
    if scope is None and (usual := _of_modules.get(name)) is not None and usual.place == place:
        return usual
    scoped = None if scope is None else _unwrapped(scope.get(name))
    if scoped is not None and scoped.place == place:
        return scoped
    found = _known(name, place) or scoped or _registered(name)
    if found is None and module != "__main__":
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
        found = _known(name, place) or _registered(name)
    if found is None:
        raise UsageError(
            f"the saved state needs {name!r}, which was defined as {module}.{qualname} and is "
            "not known here. Import or deploy its module first, or keep the old name.",
            name=name,
            module=module,
        )
    return found


def _known(name: str, place: Place) -> Definition | None:
    found = _registered(name)
    if found is not None and found.place == place:
        return found
    return _registered(place)


def _registered(key: str | Place) -> Definition | None:
    return _of_modules.get(key) or _of_functions.get(key)


def _unwrapped(value: Any) -> Definition | None:
    found = getattr(value, "definition", value)
    return found if hasattr(found, "compiled") else None
