"""Binding a wait: its variables are evaluated and frozen at the moment of the wait."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from types import CodeType, FunctionType
from typing import Any, assert_never, cast

import msgspec

from raysume import limits
from raysume.errors import UsageError
from raysume.matching import atoms, paths, predicates
from raysume.matching.canonical import canonical, key_of
from raysume.waits import Wait


class MatchAnyWarning(UserWarning):
    """A first wait says neither what it matches nor that it matches everything."""


class Binding(msgspec.Struct, frozen=True):
    """What of a wait is stored: enough to find it for a call without loading its instance."""

    method: str
    """The method's URN."""
    shape: tuple[str, ...]
    """The parts of calls that make the key, sorted; () when there is no key."""
    keys: tuple[bytes, ...]
    """The keys under which matching calls are found; () when there is no key."""
    predicate: bytes | None
    """For `evaluate`, on calls found by key (or all calls); None when the key alone decides."""
    matches_any: bool
    """Every call of the method matches."""


_CONTAINERS = (list, tuple, set, frozenset, dict)
_FAILED: Any = object()
_UNFORESEEN: Any = object()

Part = tuple[tuple[bytes, ...], bool]
"""Canonical values that a part may have, and whether having one is all that was asked."""


def bind(wait: Wait[Any], first: bool = False) -> Binding:
    """The wait as it is now: later changes of variables do not reach it.

    Args:
        first: it is a workflow's first wait, which may leave out its match.

    Raises:
        UsageError: there is no match, or it names what the method does not have.
        UnsavableState: a variable of the predicate cannot be saved.
    """
    method = wait.method
    urn = method.urn
    if not wait.fields and wait.predicate is None:
        _check_matches_any(wait, first)
        return Binding(urn, (), (), None, True)
    parts: dict[str, Part] = {}
    whole = _field_parts(wait, parts)
    if wait.predicate is not None:
        function: Any = wait.predicate
        analysis = atoms.analysis_of(function, method)
        values = _values(analysis, function) if analysis.atoms else ()
        whole = _predicate_parts(analysis, values, parts) and whole
    shape, keys = _key(parts)
    if whole and len(shape) == len(parts) > 0:
        return Binding(urn, shape, keys, None, False)
    return Binding(urn, shape, keys, predicates.frozen(wait), False)


def foreseen_shape(wait: Wait[Any]) -> tuple[str, ...]:
    """The shape that `bind` will give the wait, told before the workflow's variables have values.

    A value that is not known yet is taken to be one that can be part of a key: None, or what has
    no canonical form, makes the shape smaller. Nothing of the user's is run but expressions of
    constants.

    Args:
        wait: its predicate may be a function over empty cells; fields whose value is not known
            have any text as their value.

    Raises:
        UsageError: the match names what the method does not have.
    """
    parts: dict[str, Part] = {}
    _field_parts(wait, parts)
    if wait.predicate is not None:
        function: Any = wait.predicate
        analysis = atoms.analysis_of(function, wait.method)
        values = list(map(_foreseen_value, analysis.each, itertools.repeat(function)))
        for atom in analysis.atoms:
            if atom.value >= 0 and values[atom.value] is _UNFORESEEN:
                values[atom.value] = ("",) if atom.kind == "in" else ""
        _predicate_parts(analysis, tuple(values), parts)
    return _key(parts)[0]


def _foreseen_value(code: CodeType, function: FunctionType) -> Any:
    if code.co_names or code.co_freevars or code.co_varnames:
        return _UNFORESEEN
    return _tried(code, function)


def _check_matches_any(wait: Wait[Any], first: bool) -> None:
    if wait.matches_any:
        return
    if not first:
        raise UsageError.by_rule(
            "later-wait-without-match",
            f"a wait for {wait.method.urn!r} says nothing about which call: add "
            ".match(field=value) or .match_if(lambda call: ...), or .match_any() for every call.",
        )
    warnings.warn(
        f"the first wait, for {wait.method.urn!r}, has no match: every call starts an instance. "
        "Say so with .match_any(), or add .match(...).",
        MatchAnyWarning,
        stacklevel=3,
    )


def _field_parts(wait: Wait[Any], parts: dict[str, Part]) -> bool:
    whole = True
    for part, value in wait.fields:
        known = _is_key_path(wait, part)
        found = _equal_to(value) if known else None
        if found is None or part in parts:
            whole = False
            continue
        parts[part] = found
        whole = whole and found[1]
    return whole


def _is_key_path(wait: Wait[Any], part: str) -> bool:
    cache: dict[str, bool] = wait.method.__dict__.setdefault("_key_paths", {})
    known = cache.get(part)
    if known is None:
        path = paths.parsed(part)
        hint = paths.OPAQUE if path is None else paths.leaf_type(wait.method, path)
        known = cache[part] = hint is not paths.OPAQUE and paths.has_known_equality(hint)
    return known


def _predicate_parts(
    analysis: atoms.Analysis, values: tuple[Any, ...], parts: dict[str, Part]
) -> bool:
    """Adds the parts that the predicate implies; whether they are all that it says."""
    if not analysis.atoms:
        return False
    found = [(atom, _part_of(atom, values)) for atom in analysis.atoms]
    refused = {atom.group for atom, part in found if part is None} & analysis.joint
    whole, is_selective = analysis.covered, bool(parts)
    for atom, part in found:
        if part is None or atom.group in refused or parts.setdefault(atom.part, part) != part:
            whole = False
            continue
        whole = whole and part[1]
        is_selective = is_selective or atom.kind in ("equal", "in")
    if not is_selective:
        parts.clear()  # a bool alone divides the calls in two: not worth an index
    return whole and is_selective


def _part_of(atom: atoms.Atom, values: tuple[Any, ...]) -> Part | None:
    match atom.kind:
        case "equal":
            return _equal_to(values[atom.value])
        case "in":
            return _one_of(values[atom.value])
        case "true":
            return (b"i1",), True
        case "false":
            return (b"i0",), True
        case _:
            assert_never(atom.kind)


def _equal_to(value: Any) -> Part | None:
    found = None if value is None or value is _FAILED else canonical(value)
    return None if found is None else ((found[0],), found[1])


def _one_of(container: Any) -> Part | None:
    if type(container) not in _CONTAINERS or not container:
        return None
    if len(container) > limits.MATCH_KEYS_MAX:
        return None
    found: dict[bytes, None] = {}
    exact = True
    for value in cast("AbstractSet[Any] | Mapping[Any, Any]", container):
        one = None if value is None else canonical(value)
        if one is None:
            return None
        found[one[0]] = None
        exact = exact and one[1]
    return tuple(sorted(found)), exact


def _values(analysis: atoms.Analysis, function: FunctionType) -> tuple[Any, ...]:
    """The values of the atoms, each evaluated now; _FAILED for those that raise."""
    if len(analysis.each) > 1 and analysis.values is not None:
        try:
            return cast(tuple[Any, ...], _run(analysis.values, function))
        except Exception:  # user code: one by one, to see which
            return tuple(_tried(code, function) for code in analysis.each)
    return tuple(_tried(code, function) for code in analysis.each)


def _tried(code: Any, function: FunctionType) -> Any:
    try:
        return _run(code, function)
    except Exception:  # user code: whatever it raises, the value is unknown
        return _FAILED


def _run(code: Any, function: FunctionType) -> Any:
    closure = function.__closure__
    if closure is not None and code.co_freevars != function.__code__.co_freevars:
        cells = dict(zip(function.__code__.co_freevars, closure, strict=True))
        closure = tuple(cells[name] for name in code.co_freevars)
    made = FunctionType(code, function.__globals__, "values", function.__defaults__, closure)
    return made()


def _key(parts: dict[str, Part]) -> tuple[tuple[str, ...], tuple[bytes, ...]]:
    """The shape and the keys; parts with so many values that keys would be too many are left out."""
    if len(parts) == 1:
        ((part, (values, _)),) = parts.items()
        return (part,), tuple([key_of((value,)) for value in values])
    total = 1
    kept: list[str] = []
    for part in sorted(parts, key=lambda part: (len(parts[part][0]), part)):
        if total * len(parts[part][0]) > limits.MATCH_KEYS_MAX:
            continue
        total *= len(parts[part][0])
        kept.append(part)
    if not kept:
        return (), ()
    kept.sort()
    if total == 1:
        return tuple(kept), (key_of([parts[part][0][0] for part in kept]),)
    choices = itertools.product(*(parts[part][0] for part in kept))
    return tuple(kept), tuple(map(key_of, choices))
