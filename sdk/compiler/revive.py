"""The functions that saved state names to be rebuilt: part of the saved format.

State saved by any release is loaded by calling these. So nothing here is ever renamed, moved
or given another meaning: a new form gets a new function. The frequent ones have a number in
pickle's extension registry, which saves 40 bytes and half a microsecond each.
"""

from __future__ import annotations

import copyreg
import importlib
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

from raysume.compiler import (
    finding,
    states,  # states imports this module, too
)
from raysume.errors import UsageError

# --- coroutines ------------------------------------------------------------------


def definition(name: str, module: str, qualname: str) -> Any:
    """The durable function of this name."""
    return finding.definition_of(name, module, qualname)


def nested_subflow(function: FunctionType, name: str) -> Any:
    """The subflow that a durable function had made of its nested function."""
    from raysume.compiler.definitions import compile_subflow

    return compile_subflow(function, name=name)


def frozen(leaf: Any, *frames: tuple[Any, int, dict[str, Any], dict[str, CellType] | None]) -> Any:
    """A suspended coroutine: its leaf, and its frames from the outermost to the innermost."""
    return states.Frozen(tuple([states.FrameState(*frame) for frame in frames]), leaf)


# --- dependencies and containers ---------------------------------------------------------------


def given(definition: Any, name: str) -> Any:
    """The value of a parameter with `Depends`, not made yet."""
    from raysume.compiler.giving import Given

    if name not in definition.dependencies:
        raise UsageError(
            f"the saved state needs the dependency {name!r} of {definition.name!r}, which has no "
            "Depends(...) any more. Keep the old version running, or migrate the instance."
        )
    return Given(definition, name)


def given_value(made: Any) -> Any:
    """The value that was given, made now if it was not."""
    return made.value


def given_cell(made: Any) -> CellType:
    """A cell that holds the value that was given."""
    return CellType(made.value)


def container_class(definition: Any) -> Any:
    """The class inside a function whose workflow the definition is."""
    if definition.owner is None:
        raise UsageError(
            f"the saved state needs the class of {definition.name!r}, which is no Container any "
            "more. Keep the old version running, or migrate the instance."
        )
    return definition.owner


# --- cells and functions ---------------------------------------------------------


def cell() -> CellType:
    """An empty cell."""
    return CellType()


def surrounding_cell(definition: Any, way: tuple[str, ...]) -> CellType:
    """The cell of a variable around a durable function, shared with everybody who sees it."""
    from raysume.compiler.surroundings import cell_at

    try:
        return cell_at(definition, way)
    except LookupError as error:
        raise UsageError(
            f"the saved state of {definition.name!r} uses a variable around it that is not there "
            f"any more: {error}. Keep the old version running, or migrate the instance."
        ) from error


def surrounding(definition: Any, way: tuple[str, ...]) -> Any:
    """The function in a variable around a durable function."""
    return surrounding_cell(definition, way).cell_contents


def fill_cell(made: CellType, state: tuple[Any, ...]) -> None:
    """The cell has its content."""
    made.cell_contents = state[0]


def nested_function(
    root: tuple[str, str, str], path: tuple[int, ...], closure: tuple[CellType, ...]
) -> FunctionType:
    """A function nested in a durable one: `path` leads from the root by ordinals."""
    compiled = definition(*root).compiled
    for ordinal in path[:-1]:
        compiled = compiled.subflow(ordinal)
    try:
        code = compiled.nested_code(path[-1])
    except LookupError as error:
        raise UsageError(
            f"the saved state needs a function nested in {root[0]!r} that is not there any more: "
            f"{error}. Keep the old version running, or migrate the instance."
        ) from error
    return FunctionType(code, compiled.globals, code.co_name, None, closure)


def module_function(
    module: str, qualname: str, path: tuple[int, ...], closure: tuple[CellType, ...]
) -> FunctionType:
    """A function nested in a function or class of a module: `path` are places in its constants."""
    home = importlib.import_module(module)
    code = code_below(home, qualname, path)
    return FunctionType(code, vars(home), code.co_name, None, closure)


def code_below(home: Any, qualname: str, path: tuple[int, ...]) -> CodeType:
    """The code at a path of ordinals below a function of a module."""
    from raysume.compiler.functions import function_code

    found = function_code(home, qualname)
    for ordinal in path:
        inner = [] if found is None else [c for c in found.co_consts if isinstance(c, CodeType)]
        found = inner[ordinal] if ordinal < len(inner) else None
    if found is None:
        raise UsageError(
            f"the saved state needs a function in {home.__name__}.{qualname} that is not there "
            "any more. Keep the old version running, or migrate the instance."
        )
    return found


def named_function(module: str, qualname: str) -> Any:
    """The function that this dotted name in a module leads to, private names included."""
    from raysume.compiler.functions import named

    found = named(importlib.import_module(module), qualname)
    if found is None:
        raise UsageError(f"the saved state needs {module}.{qualname}, which is not there any more.")
    return found


def set_function(made: FunctionType, state: tuple[Any, ...]) -> None:
    """The function has its name, defaults and attributes."""
    made.__name__, made.__qualname__, made.__module__ = state[:3]
    made.__defaults__, made.__kwdefaults__ = state[3:5]
    made.__dict__.update(state[5])


def method(function: Any, receiver: Any) -> MethodType:
    """The function bound to its receiver."""
    return MethodType(function, receiver)


# --- exceptions ------------------------------------------------------------------


def exception(kind: type[BaseException], *args: Any) -> BaseException:
    """An exception with these arguments, made without the `__init__` of the user's class."""
    made: Any = None
    for each in kind.__mro__:
        new = vars(each).get("__new__")
        if new is not None and not isinstance(new, FunctionType | staticmethod):
            made = new(kind, *args)
            break
    for each in kind.__mro__:
        init = vars(each).get("__init__")
        if init is not None and not isinstance(init, FunctionType):
            init(made, *args)
            break
    result: BaseException = made
    return result


def set_exception(made: BaseException, state: tuple[Any, ...]) -> None:
    """The exception has its attributes, cause and context."""
    attributes, cause, context, suppress, traceback = state
    if attributes is not None:
        if hasattr(made, "__setstate__"):
            made.__setstate__(attributes)
        else:
            made.__dict__.update(attributes)
    if cause is not None:
        made.__cause__ = cause
    made.__context__ = context
    made.__suppress_context__ = suppress
    if traceback:
        made.__dict__[TRACEBACK] = traceback


TRACEBACK = "__raysume_traceback__"
"""The attribute of a loaded exception that has its traceback as text."""


_NUMBERED = (
    (0x52415901, definition),
    (0x52415902, frozen),
    (0x52415903, nested_subflow),
    (0x52415904, cell),
    (0x52415905, fill_cell),
    (0x52415906, nested_function),
    (0x52415907, set_function),
    (0x52415908, method),
    (0x52415909, surrounding_cell),
    (0x5241590A, surrounding),
    (0x5241590B, given),
    (0x5241590C, given_value),
    (0x5241590D, given_cell),
)
for _code, _function in _NUMBERED:
    copyreg.add_extension(__name__, _function.__name__, _code)

FOUND_ANEW = tuple(
    code.to_bytes(4, "little")
    for code, function in _NUMBERED
    if function in (surrounding_cell, surrounding, given)
)
"""How pickle writes the functions that find values which may be other ones the next time."""
