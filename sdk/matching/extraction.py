"""Keys of calls: what a shape's parts are in a call, as the key that waits were stored under.

Where a part is a plain value in plain models, it is read from the parsed JSON; else from
the validated call. Both give the same key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from pydantic import BaseModel

from raysume.call import Call
from raysume.errors import InvalidCall
from raysume.matching import paths, predicates
from raysume.matching.canonical import canonical, key_of
from raysume.methods import Method
from raysume.parameters import ParameterModel, RenamedModel
from raysume.records import CallRecord

_decode = msgspec.json.Decoder().decode
_UNREAD: Any = object()
UNREADABLE: Any = object()
"""The raw value of JSON that cannot be read the fast way."""


class Parsed:
    """A call with its JSON parsed at most once, however many shapes ask."""

    __slots__ = ("_call", "_input", "_method", "_output", "record")

    record: CallRecord

    def __init__(self, record: CallRecord, method: Method | None = None) -> None:
        self.record = record
        self._method = method
        self._call: Call[Any, Any] | None = None
        self._input = _UNREAD
        self._output = _UNREAD

    @property
    def input(self) -> Any:
        """The input as plain JSON values."""
        value = self._input
        if value is _UNREAD:
            value = self._input = _parsed(self.record.input)
        return value

    @property
    def output(self) -> Any:
        """The output as plain JSON values; None when the call carries none."""
        value = self._output
        if value is _UNREAD:
            data = self.record.output
            value = self._output = None if data is None else _parsed(data)
        return value

    @property
    def call(self) -> Call[Any, Any]:
        """The call as workflows see it; the same object every time."""
        if self._call is None:
            self._call = Call.of(self.record, self._method)
        return self._call


def _parsed(data: bytes) -> Any:
    try:
        return _decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return UNREADABLE


Extractor = Callable[[Parsed], bytes | None]
PartReader = Callable[[Parsed], Any]


def extractor(method: Method, shape: tuple[str, ...]) -> Extractor:
    """A function that gives a call's key for `shape`; None when the call can have none.

    A call without a key meets no wait of that shape.
    """
    readers = [_part_reader(method, part) for part in shape]
    if len(readers) == 1:
        read = readers[0]

        def one(parsed: Parsed) -> bytes | None:
            found = canonical(read(parsed))
            return None if found is None else key_of((found[0],))

        return one

    def several(parsed: Parsed) -> bytes | None:
        parts: list[bytes] = []
        for read in readers:
            found = canonical(read(parsed))
            if found is None:
                return None
            parts.append(found[0])
        return key_of(parts)

    return several


def _part_reader(method: Method, part: str) -> PartReader:
    path = paths.parsed(part)
    if path is None:
        return _validated(_expression(part))
    slow = _validated(predicates.reader(part))
    if path.root not in ("input", "output"):
        return slow
    raw = _raw_steps(method, path)
    return slow if raw is None else _fast(path.root, raw[0], raw[1], slow)


def _validated(read: Callable[[Call[Any, Any]], Any]) -> PartReader:
    def reader(parsed: Parsed) -> Any:
        try:
            return read(parsed.call)
        except (InvalidCall, AttributeError, LookupError, TypeError, ValueError, ArithmeticError):
            return None

    return reader


_SAFE_BUILTINS = {"min": min, "max": max, "abs": abs, "len": len, "int": int, "str": str}


def _expression(part: str) -> Callable[[Call[Any, Any]], Any]:
    """A function that evaluates an expression over paths, as analysis allowed it."""
    made: Any = eval(f"lambda input, output, headers: {part}", {"__builtins__": _SAFE_BUILTINS})

    def read(call: Call[Any, Any]) -> Any:
        output = call.output if "output" in part else None
        headers = call.headers if "headers" in part else None
        return made(call.input if "input" in part else None, output, headers)

    return read


def _raw_steps(method: Method, path: paths.Path) -> tuple[tuple[str, ...], type] | None:
    """The keys that lead to a plain leaf in the raw JSON, and the leaf's type.

    None when what is validated may differ from what is in the JSON: aliases, validators,
    settings that convert values, unions, and types other than str, int, float and bool.
    """
    hint = _plain_leaf(method, path)
    if hint not in (str, int, float, bool):
        return None
    return tuple(name for _, name in path.steps), hint


def is_plain_path(method: Method, path: paths.Path) -> bool:
    """Whether a path leads through plain models to a value that cannot change."""
    if path.root not in ("input", "output"):
        return False
    return paths.is_atomic(_plain_leaf(method, path))


def _plain_leaf(method: Method, path: paths.Path) -> Any:
    """The type at the end of a path through plain models; OPAQUE when it leads elsewhere."""
    hint = paths.root_type(method, path.root)
    for kind, name in path.steps:
        field = _plain_field(hint, name) if kind == "attribute" and _is_plain(hint) else None
        if field is None:
            return paths.OPAQUE
        hint = field.annotation
    return hint


_CHANGING = (
    "str_strip_whitespace",
    "str_to_lower",
    "str_to_upper",
    "alias_generator",
    "use_enum_values",
    "from_attributes",
    "coerce_numbers_to_str",
)


def _is_plain(hint: Any) -> bool:
    """Whether a type is a model whose fields hold what their JSON says."""
    if not (isinstance(hint, type) and issubclass(hint, BaseModel)):
        return False
    plain: Any = RenamedModel if issubclass(hint, RenamedModel) else BaseModel
    decorators = hint.__pydantic_decorators__
    return (
        not any(hint.model_config.get(name) for name in _CHANGING)
        and not decorators.model_validators
        and not decorators.root_validators
        and not decorators.field_validators
        and not decorators.validators
        and not hint.__pydantic_root_model__
        and all(
            getattr(hint, name) == getattr(plain, name)
            for name in ("__init__", "model_post_init", "__getattribute__")
        )
        and _function(hint, "__get_pydantic_core_schema__")
        is _function(BaseModel, "__get_pydantic_core_schema__")
    )


def _function(owner: Any, name: str) -> Any:
    return getattr(getattr(owner, name), "__func__", None)


def _plain_field(model: type[BaseModel], name: str) -> Any:
    for field_name, field in model.__pydantic_fields__.items():
        if (field.alias or field_name) != name:
            continue
        ours = issubclass(model, ParameterModel)
        renamed = (field.alias is not None and not ours) or (
            field.validation_alias not in (None, field.alias)
        )
        changed = bool(field.metadata) or field.discriminator is not None or renamed
        return None if changed else field
    return None


def _fast(root: str, keys: tuple[str, ...], leaf: type, slow: PartReader) -> PartReader:
    is_input = root == "input"

    def reader(parsed: Parsed) -> Any:
        value: Any = parsed.input if is_input else parsed.output
        try:
            for key in keys:
                value = value[key]
        except (LookupError, TypeError):
            return slow(parsed)
        if type(value) is leaf:
            return value
        return slow(parsed)

    return reader
