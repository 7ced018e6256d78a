"""Calls and arguments as JSON, and calls put together into the bodies of requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import msgspec
from msgspec import UNSET, UnsetType
from pydantic import BaseModel
from pydantic_core import to_json

from raysume.errors import InvalidCall
from raysume.limits import CLIENT_BATCH_BYTES, CLIENT_BATCH_CALLS
from raysume.methods import BoundMethod, Method
from raysume.records import OutgoingCall

AnyMethod: TypeAlias = str | Method | BoundMethod
"""A URN, a decorated function, or an external method."""

CallLike: TypeAlias = Mapping[str, Any] | OutgoingCall
"""`{"method", "input", "output"?, "id"?, "headers"?}`; `method` may be an `AnyMethod`."""

_FIELDS = frozenset({"method", "input", "output", "id", "headers"})


class CallBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call in a request. Input and output are JSON already."""

    method: str
    input: msgspec.Raw
    output: msgspec.Raw | UnsetType = UNSET
    id: str | UnsetType = UNSET
    error: str | UnsetType = UNSET
    headers: dict[str, str] | UnsetType = UNSET


def encode_call(
    method: AnyMethod,
    *,
    input: Any,
    output: Any = UNSET,
    id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """The call as JSON, checked against the method where it is known here.

    Args:
        output: UNSET for a call that carries none.

    Raises:
        InvalidCall: a value does not fit, or has no JSON form.
    """
    if isinstance(method, BoundMethod):
        method = method.method
    urn = method if isinstance(method, str) else method.urn
    body = CallBody(
        method=urn,
        input=msgspec.Raw(_input(method, input)),
        output=UNSET if output is UNSET else msgspec.Raw(_output(method, output)),
        id=UNSET if id is None else id,
        headers=UNSET if not headers else dict(headers),
    )
    return _envelope(urn, body)


def encode_outgoing(call: OutgoingCall) -> bytes:
    """The call, made by a decorated function, as JSON."""
    body = CallBody(
        method=call.method,
        input=msgspec.Raw(call.input),
        output=UNSET if call.output is None else msgspec.Raw(call.output),
        id=call.id,
        error=UNSET if call.error is None else call.error,
        headers=UNSET if not call.headers else call.headers,
    )
    return _envelope(call.method, body)


def encode_like(call: CallLike) -> bytes:
    """A call as `push_many` takes it, as JSON.

    Raises:
        InvalidCall: it has other fields, or lacks one, or a value does not fit.
    """
    if isinstance(call, OutgoingCall):
        return encode_outgoing(call)
    if not isinstance(call, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidCall(f"a call is a mapping with method and input, not {type(call).__name__}.")
    unknown = sorted(str(name) for name in call.keys() - _FIELDS)
    if unknown:
        raise InvalidCall(
            f"a call has no field {unknown[0]!r}; its fields are: {', '.join(sorted(_FIELDS))}.",
            field=unknown[0],
        )
    for name in ("method", "input"):
        if name not in call:
            raise InvalidCall(f"the call has no {name!r}.", field=name)
    return encode_call(
        call["method"],
        input=call["input"],
        output=call.get("output", UNSET),
        id=call.get("id"),
        headers=call.get("headers"),
    )


def plain_json(value: Any, *, what: str) -> bytes:
    """Any value that has a JSON form: builtins, datetimes, models, dataclasses, enums ...

    Raises:
        InvalidCall: it has none.
    """
    try:
        return to_json(value, by_alias=True)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidCall(
            f"{what} has no JSON form: {error}. Use plain types, dataclasses or pydantic models."
        ) from error


def _envelope(urn: str, body: CallBody) -> bytes:
    try:
        return msgspec.json.encode(body)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise InvalidCall(
            f"id or headers of a call of {urn!r} are not text: {error}.", field="headers"
        ) from error


def _input(method: str | Method, value: Any) -> bytes:
    if not isinstance(value, Mapping | BaseModel):
        raise InvalidCall(
            "the input of a call is a mapping of parameters by name, or a pydantic model, "
            f"not {type(value).__name__}.",
            field="input",
        )
    if isinstance(method, str):
        return plain_json(value, what=f"the input of a call of {method!r}")
    if not isinstance(value, method.input_model):
        if isinstance(value, BaseModel):
            value = value.model_dump()
        value = method.model_of(cast(Mapping[str, Any], value))
    return method.encode_input(value)


def _output(method: str | Method, value: Any) -> bytes:
    if isinstance(method, str):
        return plain_json(value, what=f"the output of a call of {method!r}")
    return method.encode_output(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallBatch:
    """Calls for one request, in order."""

    body: bytes
    """One call a line."""
    first: int
    """The place of its first call among all that were given, from 0."""
    count: int


@dataclass(slots=True)
class Batcher:
    """Puts encoded calls together into batches that keep within the limits of a request."""

    calls_max: int = CLIENT_BATCH_CALLS
    bytes_max: int = CLIENT_BATCH_BYTES
    taken: int = 0
    """Calls added so far."""
    _calls: list[bytes] = field(default_factory=list[bytes])
    _bytes: int = 0

    def add(self, call: CallLike) -> CallBatch | None:
        """The call is in a batch. Returns a batch that is full, with the call or before it.

        Raises:
            InvalidCall: with `item`, the call's place among all that were given.
        """
        try:
            encoded = encode_like(call)
        except InvalidCall as error:
            raise at_item(error, self.taken) from error
        full = None
        if self._calls and self._bytes + len(encoded) > self.bytes_max:
            full = self.rest()
        self._calls.append(encoded)
        self._bytes += len(encoded) + 1
        self.taken += 1
        if full is None and len(self._calls) >= self.calls_max:
            full = self.rest()
        return full

    def rest(self) -> CallBatch | None:
        """The calls added since the last batch; None when there are none."""
        if not self._calls:
            return None
        batch = CallBatch(
            body=lines(self._calls), first=self.taken - len(self._calls), count=len(self._calls)
        )
        self._calls, self._bytes = [], 0
        return batch


def lines(calls: Iterable[bytes]) -> bytes:
    """Encoded calls, one a line: a server takes the first while the last are on their way."""
    return b"\n".join(calls) + b"\n"


def at_item(error: InvalidCall, item: int) -> InvalidCall:
    """The same refusal, about the call in place `item`."""
    return InvalidCall(f"call {item}: {error.message}", **{**error.details, "item": item})
