"""The JSON form of pushed calls, decoded: syntax, types, depth and duplicate names are checked.

Every body is decoded twice by C code: once shallowly, which cuts out each input and
output as the bytes to store, and once fully, for the schemas. Both together cost about
2 us a call. Nothing here knows methods, tokens or HTTP routes.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from raysume.limits import JSON_DEPTH_MAX
from raysume.serve_apps.ingress.problems import ItemError, Problem, malformed

_ABSENT = msgspec.Raw()


class Envelope(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One call as a client sends it."""

    method: str
    input: msgspec.Raw
    output: msgspec.Raw = _ABSENT
    error: str | None = None
    id: str | None = None
    headers: dict[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """Calls of one request or of a part of it."""

    first: int
    """Index of the first one in the request."""
    envelopes: list[Envelope]
    values: list[dict[str, Any]]
    """The same calls, fully decoded."""


_one: msgspec.json.Decoder[Envelope] = msgspec.json.Decoder(Envelope)
_array: msgspec.json.Decoder[list[Envelope]] = msgspec.json.Decoder(list[Envelope])
_any: msgspec.json.Decoder[Any] = msgspec.json.Decoder()

_AT = re.compile(r"^(?P<message>.*) - at `\$(?P<path>[^`]*)`$", re.DOTALL)
_INDEX = re.compile(r"^\[(\d+)\]")
_NAMED = re.compile(
    r"^Object (missing required|contains unknown) field `(?P<name>[^`]*)`$", re.DOTALL
)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SOLID = re.compile(r"\S")
_BRACKET = re.compile(rb"[\[\]{}]")


def decode_one(body: bytes) -> Items:
    """The body is one call.

    Raises:
        Problem: 400 when it is no JSON, 422 when it is no call.
    """
    try:
        value = _any.decode(body)
        _check_names(body, value)
        envelope = _one.decode(body)
    except (ValueError, RecursionError) as error:
        raise _refusal(error, body, first=0, many=False) from error
    return Items(first=0, envelopes=[envelope], values=[value])


def decode_array(body: bytes) -> Items:
    """The body is a JSON array of calls.

    Raises:
        Problem: 400 when it is no JSON, 422 when an item is no call.
    """
    try:
        values = _any.decode(body)
        _check_names(body, values)
        envelopes = _array.decode(body)
    except (ValueError, RecursionError) as error:
        raise _refusal(error, body, first=0, many=True) from error
    return Items(first=0, envelopes=envelopes, values=values)


def decode_lines(lines: bytes, *, first: int) -> Items:
    """Every line is one call; blank lines don't count.

    Args:
        lines: complete lines.
        first: calls in the lines before these.

    Raises:
        Problem: 400 when a line is no JSON, 422 when it is no call.
    """
    try:
        values = _any.decode_lines(lines)
        _check_names(lines, values)
        envelopes = _one.decode_lines(lines)
    except (ValueError, RecursionError) as error:
        raise _refusal(error, lines, first=first, many=True) from error
    return Items(first=first, envelopes=envelopes, values=values)


def decode_object(body: bytes, *, field: str) -> dict[str, Any]:
    """The body is one JSON object without duplicate names, not too deep.

    Raises:
        Problem: 400 when it is no JSON or too deep, 422 when it is no object.
    """
    try:
        value = _any.decode(body)
        _check_names(body, value)
    except (ValueError, RecursionError) as error:
        raise _refusal(error, body, first=0, many=False) from error
    if not isinstance(value, dict):
        raise Problem(
            422,
            "invalid-input",
            f"{field} must be a JSON object",
            errors=[ItemError(field=field, message="must be a JSON object")],
        )
    if is_too_deep(body):
        raise too_deep()
    return value  # pyright: ignore[reportUnknownVariableType]


def is_too_deep(json_bytes: bytes) -> bool:
    """True when the JSON nests deeper than JSON_DEPTH_MAX.

    Almost all data has fewer brackets than that altogether, so counting them settles it.
    """
    if json_bytes.count(b"{") + json_bytes.count(b"[") <= JSON_DEPTH_MAX:
        return False
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", json_bytes)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > JSON_DEPTH_MAX:
            return True
    return False


def too_deep(item: int | None = None) -> Problem:
    """The refusal of JSON that nests too deep."""
    detail = f"The JSON nests deeper than {JSON_DEPTH_MAX} levels. Send flatter data."
    errors = [] if item is None else [ItemError(item=item, message=detail)]
    return Problem(400, "malformed", detail, errors=errors)


def _check_names(body: bytes, value: Any) -> None:
    """No object in the body has the same name twice: parsers would disagree about its value.

    A decoder keeps the last of two equal names, so what it decoded has fewer quotation
    marks when encoded again. Escaped ones are the only other difference there can be.
    """
    if b"\\u0022" not in body and body.count(b'"') == msgspec.json.encode(value).count(b'"'):
        return
    text, at = body.decode(), 0
    while (solid := _SOLID.search(text, at)) is not None:
        _, at = _NAMED_ONCE.raw_decode(text, solid.start())


def _pairs(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise malformed(
                f"The name {name[:100]!r} stands twice in one JSON object. Send each name once."
            )
        seen.add(name)


_NAMED_ONCE = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=str, parse_float=str)


def _refusal(error: Exception, body: bytes, *, first: int, many: bool) -> Problem:
    if isinstance(error, msgspec.ValidationError):
        return _misfit(str(error), first=first, many=many)
    if isinstance(error, RecursionError):
        return too_deep()
    if isinstance(error, UnicodeDecodeError):
        return malformed("The body is not UTF-8. Send JSON encoded as UTF-8.")
    if not body.strip():
        return malformed("The body is empty. Send JSON.")
    return malformed(f"The body is not JSON: {error}.")


def _misfit(text: str, *, first: int, many: bool) -> Problem:
    """A call has a field missing, too many, or of another type."""
    found = _AT.match(text)
    message, path = (found["message"], found["path"]) if found else (text, "")
    item: int | None = first
    if many:
        index = _INDEX.match(path)
        if index is None:
            item = None
        else:
            item, path = first + int(index[1]), path[index.end() :]
    field = path.lstrip(".").replace("[...]", ".*").replace("[", ".").replace("]", "") or None
    named = _NAMED.match(message)
    if named is not None:
        field = f"{field}.{named['name']}" if field else named["name"]
        message = "is missing" if named[1].startswith("missing") else "is not a field of a call"
    where = "the body" if item is None else f"call {item}"
    detail = f"{where}, {field}: {message}" if field else f"{where}: {message}"
    return Problem(
        422,
        "invalid-call",
        f"{detail[0].upper()}{detail[1:]}. A call is "
        '{"method", "input", "output"?, "error"?, "id"?, "headers"?}.',
        errors=[ItemError(item=item, field=field and field[:300], message=message[:300])],
    )
