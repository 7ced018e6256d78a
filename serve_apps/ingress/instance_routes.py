"""Routes that start, read, list and await instances."""

from __future__ import annotations

import math
from typing import Annotated, Any, cast

import msgspec
from fastapi import APIRouter, Query
from pydantic import AwareDatetime
from starlette.requests import Request
from starlette.responses import Response

from raysume.limits import INSTANCE_ID_CHARS_MAX, PAGE_ROWS_MAX, RESULT_WAIT_S_MAX
from raysume.serve_apps.ingress import instances, schemas
from raysume.serve_apps.ingress.cursors import decode_cursor, encode_cursor
from raysume.serve_apps.ingress.envelopes import decode_object
from raysume.serve_apps.ingress.problems import ItemError, Problem, json_response, unusable
from raysume.serve_apps.ingress.requests import accepting, expect_json, ingress_of, only_parameters

router = APIRouter(prefix="/v1", tags=["instances"])

_Workflow = Annotated[str | None, Query(description="Needed when several workflows use the id.")]


@router.post(
    "/workflows/{name}/instances",
    status_code=201,
    summary="Start an instance",
    response_model=None,
    openapi_extra=schemas.body(schemas.StartBody),
    responses=schemas.answers(
        (201, schemas.InstanceStarted, "Started"),
        (200, schemas.InstanceStarted, "Existed before"),
        refusals=(400, 404, 409, 413, 415, 422, 429, 503),
    ),
)
async def start_instance(request: Request, name: str) -> Response:
    """The answer is sent after the instance is on disk."""
    only_parameters(request)
    expect_json(request)
    ingress = ingress_of(request)
    with accepting(request) as span, ingress.bodies.lease() as lease:
        raw = await lease.read(request)
        body = decode_object(raw, field="body") if raw.strip() else {}
        given, id = _start_body(body)
        answer = await instances.start(ingress, name, given, id, trace=span.trace)
    return json_response(
        {
            "id": answer.id,
            "workflow": answer.workflow,
            "version": answer.version,
            "status": answer.status,
        },
        status=201 if answer.created else 200,
    )


def _start_body(body: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The arguments and the id of a request to start an instance."""
    errors = [
        ItemError(field=name[:200], message="is not a field here")
        for name in body
        if name not in ("input", "id")
    ]
    given: Any = body.get("input", {})
    id: Any = body.get("id")
    if not isinstance(given, dict):
        errors.append(ItemError(field="input", message="must be an object: arguments by name"))
    fits = id is None or (isinstance(id, str) and 0 < len(id) <= INSTANCE_ID_CHARS_MAX)
    if not fits or (id is not None and not id.isprintable()):
        message = f"must be a string of 1 to {INSTANCE_ID_CHARS_MAX} printable characters"
        errors.append(ItemError(field="id", message=message))
    if errors:
        raise Problem(
            422,
            "invalid-input",
            f"{errors[0].field}: {errors[0].message}. The body is "
            '{"input": {arguments by name}, "id"?: string}.',
            errors=errors,
        )
    return cast(dict[str, Any], given), id


@router.get(
    "/instances",
    summary="List instances, newest first",
    response_model=None,
    responses=schemas.answers((200, schemas.InstancePage, "A page"), refusals=(404, 422, 503)),
)
async def list_instances(
    request: Request,
    workflow: str | None = None,
    status: schemas.Status | None = None,
    since: Annotated[AwareDatetime | None, Query(description="Started at or after.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Started before.")] = None,
    tag: Annotated[
        list[str] | None, Query(description="name:value; repeated: all of them.")
    ] = None,
    after: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX)] = 100,
) -> Response:
    """Instances of all workflows, or of one."""
    only_parameters(request, "workflow", "status", "since", "until", "tag", "after", "limit")
    rows, place = await instances.page(
        ingress_of(request),
        workflow=workflow,
        status=status,
        since=since,
        until=until,
        tags=_tags(tag or []),
        after=decode_cursor(after, tuple[str, str]),
        limit=limit,
    )
    return json_response({"items": rows, "next": None if place is None else encode_cursor(place)})


def _tags(given: list[str]) -> dict[str, str]:
    """The tags asked for, by name.

    Raises:
        Problem: 422, one is not name:value, or a name is asked for with two values.
    """
    tags: dict[str, str] = {}
    for one in given:
        name, colon, value = one.partition(":")
        if not colon or not name:
            raise unusable("tag", f"{one[:100]!r} is not like name:value")
        if tags.setdefault(name, value) != value:
            raise unusable("tag", f"no instance has two values of {name[:100]!r}")
    return tags


@router.get(
    "/instances/{id}",
    summary="One instance",
    response_model=None,
    responses=schemas.answers((200, schemas.Instance, "The instance"), refusals=(404, 409, 503)),
)
async def describe_instance(request: Request, id: str, workflow: _Workflow = None) -> Response:
    """Its status, and what it waits for."""
    only_parameters(request, "workflow")
    _, found = await instances.find(ingress_of(request), id, workflow)
    return json_response(found)


@router.get(
    "/instances/{id}/state",
    summary="Where an instance stands",
    response_model=None,
    responses=schemas.answers((200, schemas.InstanceState, "Frames"), refusals=(404, 409, 503)),
)
async def instance_state(request: Request, id: str, workflow: _Workflow = None) -> Response:
    """Its frames with file, line, wait and local variables."""
    only_parameters(request, "workflow")
    ingress = ingress_of(request)
    pool, _ = await instances.find(ingress, id, workflow)
    state = await ingress.engine.state(pool, id)
    if state is None:
        raise _gone(id)
    return json_response(state)


@router.get(
    "/instances/{id}/result",
    summary="Await an instance's result",
    response_model=None,
    responses=schemas.answers(
        (200, schemas.InstanceResult, "Completed, failed or cancelled"),
        (202, schemas.InstanceResult, "Not finished yet: ask again"),
        refusals=(404, 409, 422, 503),
    ),
)
async def instance_result(
    request: Request,
    id: str,
    workflow: _Workflow = None,
    wait: Annotated[float, Query(description="Seconds to wait for the end.", ge=0)] = 0.0,
) -> Response:
    """Waits until the instance has ended, at most `wait` seconds (not above 60)."""
    only_parameters(request, "workflow", "wait")
    if not math.isfinite(wait):
        raise unusable("wait", "must be a number of seconds")
    ingress = ingress_of(request)
    pool, _ = await instances.find(ingress, id, workflow)
    ended = await ingress.engine.result(pool, id, min(wait, RESULT_WAIT_S_MAX))
    if ended is None:
        raise _gone(id)
    status = ended["status"]
    match status:
        case "completed":
            result = msgspec.Raw(ended.get("result") or b"null")
            return json_response({"status": status, "result": result})
        case "failed" if ended.get("retry_at") is not None:
            return json_response({"status": status, "retry_at": ended["retry_at"]}, status=202)
        case "failed" | "cancelled":
            return json_response({"status": status, "error": ended.get("error")})
        case _:
            return json_response({"status": status}, status=202)


def _gone(id: str) -> Problem:
    return Problem(404, "not-found", f"Instance {id[:200]!r} was deleted meanwhile.")
