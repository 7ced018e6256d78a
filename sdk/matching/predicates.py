"""Predicates: what is left to decide on a call that was found by its key, as bytes.

They hold the user's function with its variables as they were at the wait, and the
equalities of `.match`.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from typing import Any

from raysume import limits
from raysume.call import Call
from raysume.errors import InvariantViolated
from raysume.matching import paths
from raysume.waits import Wait

Check = Callable[[Call[Any, Any]], bool]

_loaded: dict[int, tuple[bytes, Check]] = {}
"""id of the bytes -> (the bytes, ready check). By identity: equal bytes may mean functions of
different deployments in one process."""
_lock = threading.Lock()
"""Shells of several threads load predicates at the same time."""


def frozen(wait: Wait[Any]) -> bytes:
    """The wait's predicate with its variables as they are now.

    Raises:
        UnsavableState: a variable cannot be saved.
    """
    from raysume import compiler

    return compiler.dumps((wait.fields, wait.predicate))


def evaluate(predicate: bytes, call: Call[Any, Any]) -> bool:
    """Whether the call meets the predicate.

    Raises:
        Exception: whatever the user's function raises.
    """
    known = _loaded.get(id(predicate))
    if known is None or known[0] is not predicate:
        known = (predicate, loaded(predicate))
        with _lock:
            while len(_loaded) >= limits.PREDICATES_CACHED_MAX:
                del _loaded[next(iter(_loaded))]
            _loaded[id(predicate)] = known
    return known[1](call)


def loaded(predicate: bytes) -> Check:
    """The predicate as a function, made anew."""
    from raysume import compiler

    content: tuple[tuple[tuple[str, Any], ...], Any] = compiler.loads(predicate)
    fields, function = content
    if not fields:
        return lambda call: bool(function(call))
    checks = [(reader(part), value) for part, value in fields]

    def check(call: Call[Any, Any]) -> bool:
        for read, value in checks:
            if not read(call) == value:  # noqa: SIM201 - equality is asked for, not its absence
                return False
        return function is None or bool(function(call))

    return check


def lone_function(predicate: bytes) -> Any:
    """The user's function, made anew, with variables that are the same whenever it is made.

    None: there is none, or the equalities of `.match` come before it, or its variables may be
    other ones the next time.
    """
    from raysume import compiler

    if not compiler.is_self_contained(predicate):
        return None
    content: tuple[tuple[tuple[str, Any], ...], Any] = compiler.loads(predicate)
    fields, function = content
    return None if fields else function


def reader(part: str) -> Callable[[Call[Any, Any]], Any]:
    """A function that reads a path from a validated call.

    Raises whatever following the path raises, e.g. AttributeError below None.
    """
    path = paths.parsed(part)
    if path is None:
        raise InvariantViolated(f"{part!r} is not a path")
    steps = [
        operator.attrgetter(name) if kind == "attribute" else operator.itemgetter(name)
        for kind, name in (("attribute", path.root), *path.steps)
    ]

    def read(call: Call[Any, Any]) -> Any:
        value: Any = call
        for step in steps:
            value = step(value)
        return value

    return read
