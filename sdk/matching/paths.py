"""Paths into a call ("input.order.id"), and what is statically known about their ends.

A path is text, as it stands in a shape: a root (`input`, `output`, `headers`, `service`,
`id`, `error`) and then attributes and constant subscripts.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, NewType, Union, cast, get_args, get_origin, is_typeddict
from uuid import UUID

from pydantic import BaseModel, EmailStr

from raysume.errors import UsageError
from raysume.methods import Method
from raysume.parameters import ParameterModel
from raysume.parsing import parsed_expression

Step = tuple[Literal["attribute", "item"], Any]
"""One piece of a path after its root."""

ROOTS: Mapping[str, Any] = {
    "input": None,
    "output": None,
    "headers": dict[str, str],
    "service": str,
    "id": str,
    "error": str | None,
}
"""What of a call may be part of a key, with its type where it is the same for all methods."""

CALL_ATTRIBUTES = (*ROOTS, "at", "method", "raw", "read", "declaration")

_ATOMIC = (str, int, float, bool, Decimal, UUID, date, datetime, timedelta, type(None))
_KNOWN_EQUALITIES = (object.__eq__, str.__eq__, int.__eq__, float.__eq__)


_LOOSE: tuple[Any, ...] = (dict, Any)
_TEXTS: tuple[Any, ...] = (EmailStr,)
"""Declarations whose values are plain texts."""


class _Opaque:
    """The type of what nothing is known about."""


OPAQUE = _Opaque
MISSING: Any = object()
"""Returned by `member` when a type certainly has no such member."""


@dataclass(frozen=True, slots=True)
class Path:
    """A parsed path."""

    root: str
    steps: tuple[Step, ...]

    def text(self) -> str:
        """The path as it stands in shapes."""
        pieces = [self.root]
        for kind, name in self.steps:
            pieces.append(f".{name}" if kind == "attribute" else f"[{name!r}]")
        return "".join(pieces)


def path_of(node: ast.expr, root: Callable[[ast.expr], str | None]) -> Path | None:
    """The path that an expression is; None when it is something else.

    Args:
        root: the name of the root that an expression is (`call.input` or `input`), or None.
    """
    steps: list[Step] = []
    while True:
        name = root(node)
        if name is not None:
            return Path(name, tuple(reversed(steps)))
        if isinstance(node, ast.Attribute):
            steps.append(("attribute", node.attr))
            node = node.value
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            if type(node.slice.value) not in (str, int):
                return None
            steps.append(("item", node.slice.value))
            node = node.value
        else:
            return None


def bare_root(node: ast.expr) -> str | None:
    """The root that a name in a shape is."""
    return node.id if isinstance(node, ast.Name) and node.id in ROOTS else None


def parsed(text: str) -> Path | None:
    """The path of a shape's text; None when it is an expression over paths."""
    return path_of(parsed_expression(text), bare_root)


def root_type(method: Method, root: str) -> Any:
    """The declared type of a call's part."""
    if root == "input":
        return method.input_model
    if root == "output":
        return method.output_type
    return ROOTS[root]


def unwrapped(hint: Any) -> Any:
    """A type without `Annotated`, `NewType`, aliases and `None`."""
    while True:
        if isinstance(hint, NewType):
            hint = hint.__supertype__
        elif get_origin(hint) is typing.Annotated:
            hint = get_args(hint)[0]
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        elif get_origin(hint) in (Union, types.UnionType):
            some = [arm for arm in get_args(hint) if arm is not type(None)]
            if len(some) != 1:
                return hint
            hint = some[0]
        else:
            return hint


def member(hint: Any, step: Step) -> Any:
    """The type of one member of a type; OPAQUE when unknown, MISSING when there is none."""
    hint = unwrapped(hint)
    kind, name = step
    if kind == "item":
        return _item(hint, name)
    return _attribute(cast(type[Any], hint), name) if isinstance(hint, type) else OPAQUE


def _attribute(owner: type[Any], name: str) -> Any:
    if issubclass(owner, BaseModel):
        return _model_member(owner, name)
    if dataclasses.is_dataclass(owner):
        if name in {field.name for field in dataclasses.fields(owner)}:
            return _hints(owner).get(name, Any)
        return OPAQUE if hasattr(owner, name) else MISSING
    if hasattr(owner, "_fields"):
        return _hints(owner).get(name, OPAQUE)
    return MISSING if owner in _ATOMIC and not hasattr(owner, name) else OPAQUE


def _model_member(model: type[BaseModel], name: str) -> Any:
    fields = model.__pydantic_fields__
    if issubclass(model, ParameterModel):
        for field in fields.values():
            if field.alias == name:
                return _annotation(field)
        found = fields.get(name)
        if found is None or found.alias not in (None, name):
            return OPAQUE if hasattr(BaseModel, name) else MISSING
        return _annotation(found)
    if name in fields:
        return _annotation(fields[name])
    loose = model.model_config.get("extra") == "allow"
    return OPAQUE if loose or hasattr(model, name) else MISSING


def _annotation(field: Any) -> Any:
    return Any if field.annotation is None else field.annotation


def _item(hint: Any, key: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return Any
    if origin is dict or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return arguments[1]
    if hint in (dict, list, tuple):
        return Any
    if origin is list and isinstance(key, int):
        return arguments[0]
    if origin is tuple and isinstance(key, int):
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return arguments[0]
        return arguments[key] if -len(arguments) <= key < len(arguments) else OPAQUE
    if is_typeddict(hint) and isinstance(key, str):
        return _hints(hint).get(key, OPAQUE)
    return OPAQUE


def _hints(owner: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(owner)
    except Exception:  # an annotation that cannot be resolved: nothing is known
        return {}


def leaf_type(method: Method, path: Path) -> Any:
    """The type at the end of a path; OPAQUE when unknown, MISSING when there is no such member."""
    hint = root_type(method, path.root)
    for step in path.steps:
        hint = member(hint, step)
        if hint is OPAQUE or hint is MISSING:
            return hint
    return hint


def has_known_equality(hint: Any) -> bool:
    """Whether all values of a type have an equality that `canonical` reproduces.

    Values declared as Any come from JSON, so they are Python's own.
    """
    hint = unwrapped(hint)
    if hint is Any or hint is None:
        return True
    if get_origin(hint) is Literal:
        return all(has_known_equality(type(value)) for value in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return all(has_known_equality(arm) for arm in get_args(hint))
    if not isinstance(hint, type):
        return False
    if hint in _ATOMIC or hint in _TEXTS:
        return True
    equality = cast(Any, hint).__eq__
    if issubclass(hint, Enum):
        return equality in _KNOWN_EQUALITIES
    return issubclass(hint, str | int | float) and equality in _KNOWN_EQUALITIES[1:]


def is_atomic(hint: Any) -> bool:
    """Whether all values of a type are plain ones that nobody can change."""
    if get_origin(hint) in (Union, types.UnionType):
        return all(map(is_atomic, get_args(hint)))
    return hint in _ATOMIC


def checked_paths(method: Method, names: tuple[str, ...]) -> tuple[str, ...]:
    """The paths meant by the keywords of `.match(...)`.

    Raises:
        UsageError: the method has no such parameter, or its type no such field.
    """
    cache: dict[tuple[str, ...], tuple[str, ...]] = method.__dict__.setdefault("_paths", {})
    found = cache.get(names)
    if found is None:
        found = cache[names] = tuple(_checked_path(method, name) for name in names)
    return found


def _checked_path(method: Method, name: str) -> str:
    steps = _steps(method.input_model, name)
    if steps is None:
        known = list(method.parameters)
        raise UsageError(
            f"{method.urn!r} has no parameter {_unknown_part(method, name)}.{_near(name, known)} "
            f"Its parameters are: {', '.join(known) or 'none'} ({method.place})."
        )
    return Path("input", steps).text()


def _steps(hint: Any, name: str) -> tuple[Step, ...] | None:
    """The steps that `a__b__c` means from a type; names that contain `__` themselves included."""
    is_mapping = _is_mapping(unwrapped(hint))
    for piece, rest in _splits(name, whole_last=is_mapping):
        step: Step = ("item" if is_mapping else "attribute", piece)
        below = member(hint, step)
        if below is MISSING:
            continue
        if not rest:
            return (step,)
        deeper = _steps(below, rest)
        if deeper is not None:
            return (step, *deeper)
    return None


def _splits(name: str, *, whole_last: bool) -> Iterable[tuple[str, str]]:
    """The ways to read a name as a member and a path below it, the whole name being one member."""
    if not whole_last:
        yield name, ""
    start = name.find("__", 1)
    while start > 0 and start + 2 < len(name):
        yield name[:start], name[start + 2 :]
        start = name.find("__", start + 1)
    if whole_last:
        yield name, ""


def _is_mapping(hint: Any) -> bool:
    origin = get_origin(hint)
    if hint in _LOOSE or origin is dict or is_typeddict(hint):
        return True
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _unknown_part(method: Method, name: str) -> str:
    first = name.split("__")[0]
    if first in method.parameters and first != name:
        return f"path {name!r} (looked for in {first!r})"
    return repr(name)


def check_attribute(method: Method, path: Path, where: str) -> None:
    """The members that a path of `match_if` names exist as far as can be known.

    Raises:
        UsageError: with the names that are near.
    """
    hint = root_type(method, path.root)
    for step in path.steps:
        below = member(hint, step)
        if below is MISSING:
            owner = unwrapped(hint)
            known = _known_names(method, owner)
            raise UsageError(
                f"{where}: {path.text()} does not exist: {_owner_name(method, owner)} has no "
                f"{step[1]!r}.{_near(str(step[1]), known)} It has: {', '.join(known) or 'nothing'}."
            )
        if below is OPAQUE:
            return
        hint = below


def _known_names(method: Method, owner: Any) -> list[str]:
    if owner is method.input_model:
        return list(method.parameters)
    if isinstance(owner, type) and issubclass(owner, BaseModel):
        return list(owner.__pydantic_fields__)
    owner = cast(Any, owner)
    return [f.name for f in dataclasses.fields(owner)] if dataclasses.is_dataclass(owner) else []


def _owner_name(method: Method, owner: Any) -> str:
    if owner is method.input_model:
        return f"the input of {method.urn!r} ({method.place})"
    return str(owner.__name__)


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
