"""What a client can ask, as operations: which requests to send, and what their answers mean.

Every operation is a generator (see raysume.client.retries) that does no I/O: `Client` and
`AsyncClient` run the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar, cast
from urllib.parse import quote

import msgspec

from raysume.client.encoding import CallBatch
from raysume.client.retries import Operation, Patience, exchange
from raysume.client.wire import (
    IN_ORDER_HEADER,
    LINES,
    PUBLISHER_HEADER,
    SEQUENCE_HEADER,
    Answer,
    QueryTerms,
    Request,
    refusal,
)
from raysume.errors import (
    DuplicateCall,
    InstanceFailed,
    InvalidCall,
    InvariantViolated,
    RaysumeError,
    ResultTimeout,
    UsageError,
)
from raysume.explanations import Explanation
from raysume.limits import LONG_POLL_S

T = TypeVar("T")

_JSON = {"Content-Type": "application/json"}
_FINISHED = frozenset({"completed", "failed", "cancelled"})


class InstanceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """An instance as the engine describes it."""

    id: str
    workflow: str = ""
    version: str = ""
    status: str = "running"
    started_at: str | None = None
    updated_at: str | None = None
    error: Any = None
    result: Any = None
    """What it returned, as JSON has it; `Run.result` gives it in its declared type."""
    failures: int = 0
    """How often it failed since it last went on."""
    retry_at: str | None = None
    """When its workflow's own policy retries it."""
    waits: list[Any] = []
    tags: dict[str, Any] = {}


class Pushed(msgspec.Struct, frozen=True):
    """The answer to one call."""

    id: str
    duplicate: bool = False


class PushedMany(msgspec.Struct, frozen=True):
    """The answer to a batch."""

    accepted: int = 0
    duplicates: int = 0


class Page(msgspec.Struct, frozen=True):
    """One page of a listing."""

    items: list[dict[str, Any]]
    next: str | None = None


class _Result(msgspec.Struct, frozen=True):
    status: str
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: Any = None
    traceback: str | None = None
    retry_at: str | None = None
    """Set when it failed and is retried by itself."""


class _Answer(msgspec.Struct, frozen=True):
    result: msgspec.Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which instance is meant."""

    id: str
    workflow: str | None = None
    """None when the id alone is clear."""

    def path(self, rest: str = "") -> str:
        """Its address."""
        return f"/v1/instances/{quote(self.id, safe='')}{rest}"

    @property
    def query(self) -> dict[str, str]:
        """Names the workflow when it is known."""
        return {} if not self.workflow else {"workflow": self.workflow}


def push(body: bytes, patience: Patience) -> Operation[str]:
    """The call is accepted, durably; gives its id.

    Args:
        body: the call with an id of its own, which makes sending it again harmless.
    """
    request = Request(verb="POST", path="/v1/calls", body=body, headers=_JSON)
    answer = yield from exchange(request, patience)
    return _read(_accepted(answer), Pushed).id


def push_batch(
    batch: CallBatch, publisher: str, sequence: int, patience: Patience
) -> Operation[int]:
    """All calls of the batch are accepted, durably, after those of earlier sequences.

    These may still be under way: until they are accepted, too, it is sent again.

    Args:
        publisher: with `sequence` (of the first call) makes sending it again harmless.

    Raises:
        InvalidCall, DuplicateCall: with `item`, the call's place among all calls that were given.
    """
    request = Request(
        verb="POST",
        path="/v1/calls:batch",
        body=batch.body,
        headers={
            **LINES,
            PUBLISHER_HEADER: publisher,
            SEQUENCE_HEADER: str(sequence),
            IN_ORDER_HEADER: "true",
        },
    )
    answer = yield from exchange(request, patience)
    try:
        _read(_accepted(answer), PushedMany)
    except (InvalidCall, DuplicateCall) as error:
        raise _placed(error, batch) from None
    return batch.count


def scale(
    workflow: str, members: int, version: str | None, patience: Patience
) -> Operation[dict[str, Any]]:
    """Has a workflow run on so many actors; the members with their shards."""
    request = Request(
        verb="POST",
        path=f"/v1/workflows/{quote(workflow, safe='')}:scale",
        body=msgspec.json.encode({"members": members, "version": version}),
        headers=_JSON,
        repeatable=True,
    )
    answer = yield from exchange(request, patience)
    return _read(_accepted(answer, conflict=UsageError), dict[str, Any])


def start(
    workflow: str, input_json: bytes, id: str | None, repeatable: bool, patience: Patience
) -> Operation[InstanceFacts]:
    """The instance exists durably: it was started, or was there already."""
    body: dict[str, Any] = {"input": msgspec.Raw(input_json)}
    if id is not None:
        body["id"] = id
    request = Request(
        verb="POST",
        path=f"/v1/workflows/{quote(workflow, safe='')}/instances",
        body=msgspec.json.encode(body),
        headers=_JSON,
        repeatable=repeatable,
    )
    answer = yield from exchange(request, patience)
    return _read(_accepted(answer, conflict=UsageError), InstanceFacts)


def describe(target: Target, patience: Patience) -> Operation[InstanceFacts]:
    """What the engine knows of an instance now."""
    request = Request(verb="GET", path=target.path(), query=target.query)
    answer = yield from exchange(request, patience)
    return _read(_accepted(answer, conflict=UsageError), InstanceFacts)


def command(target: Target, kind: str, reason: str, patience: Patience) -> Operation[InstanceFacts]:
    """The instance was told to `cancel` or `retry`, durably; what it is afterwards.

    Sent again after a lost answer, it tries a failed instance once more at worst.

    Raises:
        UsageError: it cannot be done with the instance as it stands.
    """
    answer = yield from exchange(_told(target, kind, {"reason": reason}), patience)
    return _read(_accepted(answer, conflict=UsageError), InstanceFacts)


def rewind(
    target: Target, to: str | int, variables: bytes, reason: str, patience: Patience
) -> Operation[InstanceFacts]:
    """The instance stands at an earlier point, durably; what it is afterwards.

    Sent again after a lost answer, it does the same once more.

    Args:
        variables: JSON object of the variables to change there.

    Raises:
        NotFound: there is no such instance, or it never stood there.
        UsageError: it cannot go back there, or a variable cannot be set.
    """
    body = {"to": to, "set": msgspec.Raw(variables), "reason": reason}
    request = _told(target, "rewind", body)
    answer = yield from exchange(request, patience)
    return _read(_accepted(answer, conflict=UsageError), InstanceFacts)


def fork(
    target: Target,
    at: str | int | None,
    variables: bytes,
    id: str,
    reason: str,
    patience: Patience,
) -> Operation[InstanceFacts]:
    """A new instance stands where the target stood, durably.

    Args:
        variables: JSON object of the variables to change there.
        id: of the new instance, which makes asking again harmless.

    Raises:
        NotFound: there is no such instance, or it never stood there.
        UsageError: the id is taken, or a variable cannot be set.
    """
    body = {"at": at, "set": msgspec.Raw(variables), "id": id, "reason": reason}
    request = _told(target, "fork", body)
    answer = yield from exchange(request, patience)
    return _read(_accepted(answer, conflict=UsageError), InstanceFacts)


def _told(target: Target, what: str, body: dict[str, Any]) -> Request:
    return Request(
        verb="POST",
        path=target.path(f":{what}"),
        query=target.query,
        body=msgspec.json.encode(body),
        headers=_JSON,
    )


def state(target: Target, patience: Patience) -> Operation[dict[str, Any]]:
    """The instance's frames, as JSON."""
    request = Request(verb="GET", path=target.path("/state"), query=target.query)
    answer = yield from exchange(request, patience)
    return _read(_accepted(answer, conflict=UsageError), dict[str, Any])


def query(target: Target, name: str, input_json: bytes, patience: Patience) -> Operation[bytes]:
    """What the instance answers from its saved state, as JSON."""
    request = Request(
        verb="POST",
        path=target.path(f"/query/{quote(name, safe='')}"),
        query=target.query,
        body=msgspec.json.encode({"input": msgspec.Raw(input_json)}),
        headers=_JSON,
    )
    answer = yield from exchange(request, patience)
    return bytes(_read(_accepted(answer, conflict=UsageError), _Answer).result)


def result(target: Target, patience: Patience) -> Operation[bytes]:
    """The instance is completed; gives its result as JSON.

    Raises:
        InstanceFailed: it is failed or cancelled.
        ResultTimeout: it is not finished in time; it goes on.
    """
    began = patience.clock()
    status = "unknown"
    while True:
        left = None
        if patience.limit_s is not None:
            left = max(0.0, began + patience.limit_s - patience.clock())
        wait_s = LONG_POLL_S if left is None else min(LONG_POLL_S, left)
        request = Request(
            verb="GET",
            path=target.path("/result"),
            query={**target.query, "wait": f"{wait_s:.3f}"},
            wait_s=wait_s,
        )
        once = Patience(limit_s=left, clock=patience.clock, chance=patience.chance)
        answer = yield from exchange(request, once)
        found = _read(_accepted(answer, conflict=UsageError), _Result)
        status = found.status
        if status == "completed":
            return bytes(found.result)
        if status in _FINISHED and found.retry_at is None:
            raise _failed(target, found)
        if left is not None and left <= wait_s:
            raise ResultTimeout(
                f"instance {target.id!r} is {status} after {patience.limit_s:g} s; it goes on. "
                "Ask again, or with a longer timeout.",
                id=target.id,
                status=status,
            )


def explain(
    call: str, instance: str | None, workflow: str | None, patience: Patience
) -> Operation[Explanation]:
    """What became of an accepted call."""
    asked = {"instance": instance, "workflow": workflow}
    query = {name: value for name, value in asked.items() if value is not None}
    path = f"/v1/calls/{quote(call, safe='')}/explain"
    answer = yield from exchange(Request(verb="GET", path=path, query=query), patience)
    return _read(_accepted(answer, conflict=UsageError), Explanation)


def page(path: str, query: QueryTerms, patience: Patience) -> Operation[Page]:
    """One page of a listing."""
    answer = yield from exchange(Request(verb="GET", path=path, query=query), patience)
    return _read(_accepted(answer, conflict=UsageError), Page)


def document(path: str, patience: Patience) -> Operation[dict[str, Any]]:
    """One JSON object."""
    answer = yield from exchange(Request(verb="GET", path=path), patience)
    return _read(_accepted(answer, conflict=UsageError), dict[str, Any])


def _accepted(answer: Answer, *, conflict: type[UsageError] = DuplicateCall) -> bytes:
    if 200 <= answer.status < 300:
        return answer.body
    raise refusal(answer, conflict=conflict)


def _read(body: bytes, form: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.MsgspecError as error:
        raise InvariantViolated(
            f"the server's answer cannot be understood: {error}. "
            "Is the address that of a raysume engine, of this release?"
        ) from error


def _placed(error: InvalidCall | DuplicateCall, batch: CallBatch) -> RaysumeError:
    item = error.details.get("item")
    if not isinstance(item, int) or not batch.first:
        return error
    place = item + batch.first
    message = f"call {place} of all that were given: {error.message}"
    return type(error)(message, **{**error.details, "item": place})


def _failed(target: Target, found: _Result) -> InstanceFailed:
    said = found.error
    if isinstance(said, dict):
        known = cast(dict[str, Any], said)
        kind, text = known.get("type"), known.get("message")
        said = f"{kind}: {text}" if kind and text else text or kind or known
    return InstanceFailed(
        f"instance {target.id!r} is {found.status}" + (f": {said}" if said else "."),
        id=target.id,
        status=found.status,
        error=found.error,
    )
