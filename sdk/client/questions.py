"""Arguments of the clients' methods as what is sent, and answers as what the methods give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from raysume.call import Call
from raysume.client.encoding import plain_json
from raysume.client.operations import InstanceFacts
from raysume.errors import UsageError
from raysume.ids import uuid7
from raysume.limits import PAGE_ROWS_MAX
from raysume.methods import BoundMethod, Method
from raysume.queries import Query
from raysume.records import CallRecord
from raysume.workflows import Workflow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Reader = Callable[[bytes], Any]
"""Makes the result that a workflow returned from its JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A start that is ready to be sent."""

    workflow: str
    input_json: bytes
    id: str | None
    """None leaves it to the engine, which asks the workflow's own rule."""
    repeatable: bool
    """Sending it again cannot start a second instance."""
    read: Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A question to an instance that is ready to be sent."""

    name: str
    input_json: bytes
    read: Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A workflow or subflow of an instance, where it stands."""

    definition: str
    file: str
    line: int
    wait: str | None
    """What it waits for; None in the frames above the innermost."""
    locals: Mapping[str, Any]
    """Its live variables: JSON values, or their repr where they have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceState:
    """Where an instance stands: its frames, the outermost first."""

    frames: tuple[Frame, ...]
    container: Mapping[str, Any] | None = None
    """The fields of the workflow's class, if it is a Container's: JSON values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnFacts:
    """One turn of an instance, as its history has it."""

    turn: int
    at: datetime
    status: str
    """What the instance was after it."""
    cause: str
    """started, call, timeout, timer, step, step failed, workflow, cancel, retry, rewind or fork."""
    name: str | None
    """Of the method, wait, step or workflow that it was for, or the reason that was given."""
    id: str | None
    """Of the call, wait, timer, step or other instance that it was for."""
    state: InstanceState
    """Where the instance stood after it."""
    error: Mapping[str, Any] | None = None


class WorkflowFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow that is deployed."""

    name: str
    version: str | None = None
    """The version that takes new instances; None when none does."""
    versions: list[str] = []
    """All versions that still have work."""
    has_parameters: bool = False
    """True when clients start it, False when calls do."""
    input_schema: dict[str, Any] | None = None
    """JSON schema of its parameters."""
    subscribes: list[str] = []
    """URNs of the methods it waits for."""


class WaitFacts(msgspec.Struct, frozen=True, kw_only=True):
    """An open wait."""

    id: str
    instance: str | None = None
    """None: a workflow's standing first wait."""
    workflow: str = ""
    version: str = ""
    method: str = ""
    name: str | None = None
    """Given by the user."""
    key: list[str] = []
    """The parts of a call by which it is found."""
    exclusive: bool = False
    times_out_at: datetime | None = None


def plan_start(
    workflow: Workflow[..., Any] | str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    id: str | None,
) -> Start:
    """The arguments bound to the workflow's parameters, and its id.

    A workflow given by name cannot be asked for the id that it makes of its arguments, so
    without `id` a start of it is not repeated when its outcome is unknown.
    """
    if isinstance(workflow, str):
        if args:
            raise UsageError(
                f"workflow {workflow!r} was given by name, so its parameters are not known here: "
                "give them by keyword, or give the workflow itself."
            )
        return Start(
            workflow=workflow,
            input_json=plain_json(dict(kwargs), what=f"the input of workflow {workflow!r}"),
            id=id,
            repeatable=id is not None,
            read=plain_reader,
        )
    if not isinstance(workflow, Workflow):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"start() takes a @workflow or its name, not {workflow!r}.")
    encoded = workflow.encode_arguments(*args, **kwargs)
    if id is None:
        id = workflow.instance_id(workflow.decode_arguments(encoded)) or uuid7()
    return Start(
        workflow=workflow.name,
        input_json=encoded,
        id=id,
        repeatable=True,
        read=workflow.output_adapter.validate_json,
    )


def plan_query(query: Query[..., Any] | str, args: tuple[Any, ...], kwargs: Any) -> Ask:
    """The question's arguments, and how to read what is answered.

    Raises:
        UsageError: the arguments do not fit.
    """
    if isinstance(query, str):
        if args:
            raise UsageError(
                f"query {query!r} was given by name, so its parameters are not known here: give "
                "them by keyword, or give the method itself."
            )
        body = plain_json(dict(kwargs), what=f"the input of query {query!r}")
        return Ask(name=query, input_json=body, read=plain_reader)
    if not isinstance(query, Query):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"query() takes a @query method or its name, not {query!r}.")
    return Ask(
        name=query.name,
        input_json=query.encode_arguments(args, kwargs),
        read=query.output_adapter.validate_json,
    )


def plain_reader(data: bytes) -> Any:
    """The result as JSON has it."""
    return msgspec.json.decode(data)


def workflow_name(workflow: Workflow[..., Any] | str | None) -> str | None:
    """The name, wherever a workflow or its name may be given."""
    return workflow.name if isinstance(workflow, Workflow) else workflow


def method_urn(method: Method | BoundMethod | str | None) -> str | None:
    """The URN, wherever a method or its URN may be given."""
    return method if method is None or isinstance(method, str) else str(method.urn)


def listing_query(
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    after: str | None = None,
    limit: int = PAGE_ROWS_MAX,
    tag: Mapping[str, Any] | None = None,
    **terms: str | None,
) -> dict[str, str | Sequence[str]]:
    """The query of a listing; what is None is left out.

    Raises:
        UsageError: a time has no zone.
    """
    query: dict[str, str | Sequence[str]] = {
        name: value for name, value in terms.items() if value is not None
    }
    if tag:
        query["tag"] = [f"{name}:{value}" for name, value in tag.items()]
    for name, moment in (("since", since), ("until", until)):
        if moment is None:
            continue
        if moment.tzinfo is None:
            raise UsageError(
                f"{name}={moment.isoformat()} has no time zone: give an aware datetime, "
                "e.g. datetime.now(UTC)."
            )
        query[name] = moment.astimezone(UTC).isoformat()
    if after is not None:
        query["after"] = after
    query["limit"] = str(limit)
    return query


def seconds(timeout: float | timedelta | None) -> float | None:
    """A timeout in seconds; None stays None.

    Raises:
        UsageError: it is negative.
    """
    value = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if value is not None and value < 0:
        raise UsageError(f"a timeout of {value:g} s has passed already: give 0 or more.")
    return value


def read_state(document: Mapping[str, Any]) -> InstanceState:
    """The state in the engine's answer."""
    return InstanceState(
        frames=tuple(
            Frame(
                definition=str(frame.get("definition", "")),
                file=str(frame.get("file", "")),
                line=int(frame.get("line") or 0),
                wait=frame.get("wait"),
                locals=frame.get("locals") or {},
            )
            for frame in document.get("frames", ())
        ),
        container=document.get("container"),
    )


def read_turn(item: Mapping[str, Any]) -> TurnFacts:
    """The turn in a row of an instance's history."""
    return TurnFacts(
        turn=int(item["turn"]),
        at=datetime.fromisoformat(str(item["at"])),
        status=str(item["status"]),
        cause=str(item["cause"]),
        name=item.get("name"),
        id=item.get("id"),
        state=read_state(item),
        error=item.get("error"),
    )


def plan_variables(given: Mapping[str, Any] | None) -> bytes:
    """Variables to set, as a JSON object.

    Raises:
        UsageError: a value has no JSON form.
    """
    return plain_json(dict(given or {}), what="the variables to set")


def read_call(item: Mapping[str, Any]) -> Call[Any, Any]:
    """The call in a row of a listing."""
    at = datetime.fromisoformat(str(item["at"]))
    output = item.get("output")  # null and none at all read the same: None
    return Call.of(
        CallRecord(
            id=item["id"],
            method=item["method"],
            service=item.get("service", ""),
            at_us=(at - _EPOCH) // timedelta(microseconds=1),
            input=msgspec.json.encode(item.get("input", {})),
            output=None if output is None else msgspec.json.encode(output),
            error=item.get("error"),
            headers=item.get("headers") or None,
        )
    )


def read_facts(item: Mapping[str, Any]) -> InstanceFacts:
    """The instance in a row of a listing."""
    return msgspec.convert(item, type=InstanceFacts)


def read_workflow(item: Mapping[str, Any]) -> WorkflowFacts:
    """The workflow in a row of a listing."""
    return msgspec.convert(item, type=WorkflowFacts)


def read_wait(item: Mapping[str, Any]) -> WaitFacts:
    """The wait in a row of a listing."""
    return msgspec.convert(item, type=WaitFacts)


def reader_of(workflow: Workflow[..., Any] | str | None) -> Reader:
    """How to read results: of the workflow's declared type when it is known here."""
    if isinstance(workflow, Workflow):
        return workflow.output_adapter.validate_json
    return plain_reader
