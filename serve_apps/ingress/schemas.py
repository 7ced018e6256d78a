"""Requests and answers as OpenAPI shows them. Documentation only: the routes write JSON themselves."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from raysume.limits import CALL_ID_CHARS_MAX, INSTANCE_ID_CHARS_MAX, REASON_CHARS_MAX, SHARDS

Status = Literal["running", "waiting", "completed", "failed", "cancelled"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CallBody(_Body):
    """One call of a method."""

    method: str = Field(description="The method's URN.", examples=["orders.submitted"])
    input: dict[str, Any] = Field(description="The parameters by name.")
    output: Any = Field(default=None, description="The returned value; leave it out for none.")
    error: str | None = Field(default=None, description="The error's text, instead of an output.")
    id: str | None = Field(
        default=None,
        max_length=CALL_ID_CHARS_MAX,
        description="Your own id: a repeated one is not stored again. Made here when left out.",
    )
    headers: dict[str, str] | None = None


class CallAccepted(BaseModel):
    """The call is on disk."""

    id: str | None = Field(description="None only for a duplicate by publisher sequence.")
    duplicate: bool = Field(default=False, description="True when it was stored before.")


class BatchAccepted(BaseModel):
    """All calls of the batch are on disk."""

    accepted: int
    duplicates: int
    duplicate: bool = Field(default=False, description="True when all were stored before.")
    ids: list[str | None] | None = Field(default=None, description="With ?ids=true, in order.")


class StartBody(_Body):
    """The arguments of a workflow."""

    input: dict[str, Any] = Field(default={}, description="The arguments by parameter name.")
    id: str | None = Field(
        default=None,
        max_length=INSTANCE_ID_CHARS_MAX,
        description="Your own id: starting it again returns the same instance.",
    )


class CommandBody(_Body):
    """Why an instance is changed."""

    reason: str = Field(default="", max_length=REASON_CHARS_MAX, description="For its log.")


class RewindBody(CommandBody):
    """Where an instance is to stand again."""

    to: str | int = Field(
        description="A wait's name, its method, a step's or workflow's name, function:line or "
        "file:line (the newest such point), or the number of a turn.",
    )
    set: dict[str, Any] = Field(default={}, description="Variables to change there, by name.")


class ForkBody(CommandBody):
    """Where a new instance is to stand, as this one stood."""

    at: str | int | None = Field(
        default=None, description="As `to` of a rewind; null: the newest saved point."
    )
    set: dict[str, Any] = Field(default={}, description="Variables to change there, by name.")
    id: str | None = Field(
        default=None, max_length=INSTANCE_ID_CHARS_MAX, description="Of the new instance."
    )


class Turn(BaseModel):
    """One turn of an instance, with the state after it."""

    turn: int
    at: AwareDatetime
    status: Status
    cause: str = Field(
        description="started, call, timeout, timer, step, step failed, workflow, cancel, retry, "
        "rewind or fork."
    )
    name: str | None = Field(description="Of the method, wait, step or workflow; or the reason.")
    id: str | None = Field(description="Of the call, wait, timer, step or other instance.")
    opened: list[dict[str, Any]]
    ended: list[dict[str, Any]]
    error: dict[str, Any] | None = None
    frames: list[dict[str, Any]]
    container: dict[str, Any] | None = None


class TurnPage(BaseModel):
    """Turns, newest first."""

    items: list[Turn]
    next: str | None = Field(description="Give it as `after` for the next page; null at the end.")


class InstanceStarted(BaseModel):
    """The instance exists, durably."""

    id: str
    workflow: str
    version: str
    status: Status


class Instance(BaseModel):
    """One run of a workflow."""

    id: str
    workflow: str
    version: str
    status: Status
    started_at: AwareDatetime
    updated_at: AwareDatetime
    error: dict[str, Any] | None = None
    result: Any = Field(default=None, description="What it returned, once it is completed.")
    failures: int = Field(default=0, description="How often it failed since it last went on.")
    retry_at: AwareDatetime | None = Field(
        default=None, description="When its workflow's own policy retries it."
    )
    undoing: str | None = Field(
        default=None,
        description="What it is once its steps are undone: failed or cancelled; undone when they are.",
    )
    waits: list[dict[str, Any]] = []
    tags: dict[str, Any] = {}


class InstancePage(BaseModel):
    """Instances, newest first."""

    items: list[Instance]
    next: str | None = Field(description="Give it as `after` for the next page; null at the end.")


class InstanceState(BaseModel):
    """Where an instance stands: its frames, outermost first."""

    frames: list[dict[str, Any]]
    container: dict[str, Any] | None = Field(
        default=None, description="The fields of the workflow's class, if it is a Container's."
    )


class QueryBody(_Body):
    """The arguments of a query."""

    input: dict[str, Any] = Field(default={}, description="The arguments by parameter name.")


class Answer(BaseModel):
    """What an instance answered."""

    result: Any


class InstanceResult(BaseModel):
    """What became of an instance."""

    status: Status
    result: Any = None
    error: dict[str, Any] | None = None
    retry_at: AwareDatetime | None = Field(
        default=None, description="With 202: it failed, and is retried by itself then."
    )


class Call(BaseModel):
    """An accepted call."""

    id: str
    method: str
    service: str
    at: AwareDatetime
    input: Any
    output: Any = None
    error: str | None = None
    headers: dict[str, str] = {}


class Comparison(BaseModel):
    """One part of a match, with its value on both sides."""

    expression: str
    holds: bool | None
    call: str | None = None
    wait: str | None = None
    error: str | None = None


class WaitExplained(BaseModel):
    """How far the call came with one wait."""

    workflow: str
    version: str
    instance: str | None = Field(default=None, description="null: the standing first wait.")
    wait: str | None = None
    name: str | None = None
    stage: str = Field(description='The first test that failed; "met" when none did.')
    reason: str
    comparisons: list[Comparison] = []


class Explanation(BaseModel):
    """What became of a call: what it met, then the nearest misses."""

    call: str
    method: str
    summary: str
    waits: list[WaitExplained]


class Wait(BaseModel):
    """An open wait."""

    id: str
    instance: str | None = Field(description="null: a standing first wait.")
    workflow: str
    version: str
    method: str
    name: str | None
    key: list[str] = Field(description="The parts of a call by which it is found.")
    exclusive: bool
    times_out_at: AwareDatetime | None


class WaitPage(BaseModel):
    """Open waits, by instance and wait; standing first waits come first."""

    items: list[Wait]
    next: str | None = Field(description="Give it as `after` for the next page; null at the end.")


class CallPage(BaseModel):
    """Calls, oldest first."""

    items: list[Call]
    next: str | None = Field(description="Give it as `after` for the next page; null at the end.")


class Workflow(BaseModel):
    """A workflow and its active version."""

    name: str
    version: str | None = Field(description="The version that takes new instances, if any.")
    versions: list[str]
    has_parameters: bool
    input_schema: dict[str, Any] | None
    subscribes: list[str]


class WorkflowList(BaseModel):
    """All workflows, by name."""

    items: list[Workflow]


class Version(BaseModel):
    """A version of a workflow."""

    workflow: str
    version: str
    active: bool
    pool: str


class VersionList(BaseModel):
    """All versions, by workflow."""

    items: list[Version]


class ScaleBody(_Body):
    """How many actors are to run a workflow."""

    members: int = Field(ge=1, le=SHARDS, description="Each owns at least one of the 16 shards.")
    version: str | None = Field(default=None, description="The active one when left out.")


class Scaled(BaseModel):
    """The members of a pool."""

    pool: str
    version: str
    members: dict[str, list[int]] = Field(description="The shards of each actor, by its name.")


class Health(BaseModel):
    """Whether calls can be accepted now."""

    status: Literal["ok", "starting", "unavailable"]
    catalogue: int | None = None
    lag: dict[str, int] = {}
    detail: str | None = None


class FieldError(BaseModel):
    """What is wrong with one field of one item."""

    message: str
    item: int | None = None
    field: str | None = None
    code: str | None = None


class ProblemDetails(BaseModel):
    """A refusal (RFC 9457). Nothing of the request was stored, unless `detail` says otherwise."""

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable, for programs.")
    errors: list[FieldError] = []
    id: str | None = Field(default=None, description="On a 500: the same id stands in the log.")


_REFUSALS: dict[int, str] = {
    400: "Not usable as JSON, or nested too deep",
    403: "The token may not push a method",
    404: "There is no such thing",
    409: "Conflict with what exists",
    413: "Too large",
    415: "The body's type is not supported",
    422: "Does not fit; the item and field are named",
    429: "Over the limits; see Retry-After",
    503: "Cannot be taken now; see Retry-After",
}


def answers(
    *successes: tuple[int, type[BaseModel], str], refusals: tuple[int, ...] = ()
) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: its successes and the refusals that it shares with others."""
    found: dict[int | str, dict[str, Any]] = {
        status: {"model": model, "description": text} for status, model, text in successes
    }
    for status in (401, *refusals):
        found[status] = {
            "description": _REFUSALS.get(status, "A bearer token is required"),
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": "#/components/schemas/ProblemDetails"}
                }
            },
        }
    return found


def body(model: type[BaseModel], **others: dict[str, Any]) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads its body itself."""
    content: dict[str, Any] = {"application/json": {"schema": model.model_json_schema()}}
    for name, schema in others.items():
        content[name.replace("__", "/").replace("_", "-")] = {"schema": schema}
    return {"requestBody": {"required": True, "content": content}}


TRACEPARENT: dict[str, Any] = {
    "name": "traceparent",
    "in": "header",
    "description": "The W3C trace context of the calls that carry none among their headers.",
    "schema": {"type": "string"},
}
"""A parameter of routes that accept calls."""
