"""How functions are called in saved state: by name, or by their place in a named function."""

from __future__ import annotations

import importlib
import sys
from types import CodeType, FunctionType, ModuleType
from typing import Any

from raysume.compiler import finding, revive
from raysume.compiler.compiled import mangled, place_of_nested


def named(home: Any, qualname: str) -> Any:
    """What a dotted name leads to, private names of classes included; None for nothing."""
    found = home
    for part in qualname.split("."):
        class_name = found.__name__ if isinstance(found, type) else None
        found = _attribute(found, mangled(part, class_name))
        if found is None:
            return None
    return found


def _plainly_named(home: Any, qualname: str) -> Any:
    found = home
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


def _attribute(owner: Any, name: str) -> Any:
    if isinstance(owner, type) and name in vars(owner):
        found: Any = vars(owner)[name]
        inside: Any = found
        return inside.__func__ if isinstance(found, staticmethod | classmethod) else inside
    return getattr(owner, name, None)


def function_code(home: Any, qualname: str) -> CodeType | None:
    """The code of the function behind a dotted name, looking through decorators that keep it."""
    found = named(home, qualname)
    for _ in range(20):
        if isinstance(found, FunctionType) and not hasattr(found, "__wrapped__"):
            return found.__code__
        inner = getattr(found, "__wrapped__", None)
        if inner is None:
            inner = getattr(found, "fget", None) or getattr(found, "function", None)
        if inner is None:
            return None
        found = inner
    return None


def reduced(function: FunctionType) -> tuple[Any, ...] | None:
    """How the function is saved; None when nothing of ours can name it."""
    place = place_of_nested(function.__code__)
    if place is not None:
        compiled, ordinal = place
        root = (compiled.root.name, compiled.root.module, compiled.root.qualname)
        closure = function.__closure__ or ()
        return _with_state(
            function, revive.nested_function, (root, (*compiled.path, ordinal), closure)
        )
    home = sys.modules.get(function.__module__)
    if home is None:
        return None
    if "<" not in function.__qualname__:
        if _plainly_named(home, function.__qualname__) is function:
            return None
        if named(home, function.__qualname__) is function:
            return (revive.named_function, (function.__module__, function.__qualname__))
    by_place = _below_a_name(function, home)
    if by_place is not None:
        return _with_state(function, revive.module_function, by_place)
    if function.__module__ == "__main__":
        cloudpickle: Any = importlib.import_module("cloudpickle")
        return (cloudpickle.loads, (cloudpickle.dumps(function),))
    return None


def surrounded_root(function: FunctionType) -> Any:
    """The durable function that contains the function, if it sees variables around it."""
    place = place_of_nested(function.__code__)
    if place is None or not place[0].root.surrounded:
        return None
    root = place[0].root
    return finding.definition_of(root.name, root.module, root.qualname)


def _with_state(function: FunctionType, rebuild: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    state = (
        function.__name__,
        function.__qualname__,
        function.__module__,
        function.__defaults__,
        function.__kwdefaults__,
        function.__dict__,
    )
    return (rebuild, args, state, None, None, revive.set_function)


def _below_a_name(function: FunctionType, home: ModuleType) -> tuple[Any, ...] | None:
    """(module, name of a function in it, places in its constants, closure)."""
    code = function.__code__
    outer = code.co_qualname.partition(".<locals>")[0]
    closure = function.__closure__ or ()
    if "<lambda>" in outer:
        return _lambda_of_a_module(function, home)
    top = function_code(home, outer)
    if top is None or top.co_filename != code.co_filename:
        return None
    path = _path_to(top, code)
    return None if path is None else (home.__name__, outer, path, closure)


def _lambda_of_a_module(function: FunctionType, home: ModuleType) -> tuple[Any, ...] | None:
    for name, value in vars(home).items():
        if value is function:
            return (home.__name__, name, (), ())
    return None


def _path_to(top: CodeType, code: CodeType) -> tuple[int, ...] | None:
    if top is code:
        return ()
    inner = [constant for constant in top.co_consts if isinstance(constant, CodeType)]
    for ordinal, each in enumerate(inner):
        path = _path_to(each, code)
        if path is not None:
            return (ordinal, *path)
    return None
