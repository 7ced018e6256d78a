"""Routes about an instance's past: its history, rewinding it, forking it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from raysume import ids
from raysume.actors.kernel.deliveries import StartAnswer
from raysume.limits import HISTORY_TURNS_MAX, SHARDS
from raysume.serve_apps.ingress import instances, schemas
from raysume.serve_apps.ingress.cursors import decode_cursor, encode_cursor
from raysume.serve_apps.ingress.envelopes import decode_object
from raysume.serve_apps.ingress.problems import ItemError, Problem, json_response
from raysume.serve_apps.ingress.requests import expect_json, ingress_of, only_parameters

router = APIRouter(prefix="/v1", tags=["instances"])

_Workflow = Annotated[str | None, Query(description="Needed when several workflows use the id.")]


@router.get(
    "/instances/{id}/history",
    summary="Every turn of an instance, newest first",
    response_model=None,
    responses=schemas.answers((200, schemas.TurnPage, "A page"), refusals=(404, 409, 422, 503)),
)
async def instance_history(
    request: Request,
    id: str,
    workflow: _Workflow = None,
    after: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=HISTORY_TURNS_MAX)] = 20,
) -> Response:
    """What each turn was for, and the frames and variables after it."""
    only_parameters(request, "workflow", "after", "limit")
    ingress = ingress_of(request)
    place = decode_cursor(after, tuple[int, int])
    pool, _ = await instances.find(ingress, id, workflow)
    found = await ingress.engine.history(pool, id, place, limit)
    if found is None:
        raise _gone(id)
    last = found["next"]
    return json_response(
        {"items": found["items"], "next": None if last is None else encode_cursor(last)}
    )


@router.post(
    "/instances/{id}:rewind",
    summary="Put an instance back to an earlier point",
    response_model=None,
    openapi_extra=schemas.body(schemas.RewindBody),
    responses=schemas.answers(
        (200, schemas.Instance, "The instance afterwards"),
        refusals=(400, 404, 409, 413, 415, 422, 503),
    ),
)
async def rewind_instance(request: Request, id: str, workflow: _Workflow = None) -> Response:
    """What waited there waits anew. No code runs for it: no `finally`, no `when_cancelled`."""
    asked = await _body(request, schemas.RewindBody)
    ingress = ingress_of(request)
    pool, _ = await instances.find(ingress, id, workflow)
    wanted = msgspec.json.encode({"to": asked.to, "set": asked.set, "reason": asked.reason})
    found = await ingress.engine.rewind(pool, id, wanted)
    if found is None:
        raise _gone(id)
    return json_response(found)


@router.post(
    "/instances/{id}:fork",
    status_code=201,
    summary="Start a new instance where this one stood",
    response_model=None,
    openapi_extra=schemas.body(schemas.ForkBody),
    responses=schemas.answers(
        (201, schemas.InstanceStarted, "Started"),
        (200, schemas.InstanceStarted, "Existed before"),
        refusals=(400, 404, 409, 413, 415, 422, 503),
    ),
)
async def fork_instance(request: Request, id: str, workflow: _Workflow = None) -> Response:
    """It takes calls that are accepted from now on, and undoes no step that it did not run."""
    asked = await _body(request, schemas.ForkBody)
    ingress = ingress_of(request)
    pool, _ = await instances.find(ingress, id, workflow)
    wanted = {
        "to": asked.at,
        "set": asked.set,
        "reason": asked.reason,
        "id": asked.id or _beside(id),
    }
    found = await ingress.engine.fork(pool, id, msgspec.json.encode(wanted))
    if found is None:
        raise _gone(id)
    answer = msgspec.msgpack.decode(found, type=StartAnswer)
    shown = {
        "id": answer.id,
        "workflow": answer.workflow,
        "version": answer.version,
        "status": answer.status,
    }
    return json_response(shown, status=201 if answer.created else 200)


def _beside(id: str) -> str:
    """A new id in the shard of another one: whoever has that makes the fork."""
    shard = ids.shard_of(id, SHARDS)
    while True:
        made = ids.uuid7()
        if ids.shard_of(made, SHARDS) == shard:
            return made


async def _body(request: Request, form: type[Any]) -> Any:
    only_parameters(request, "workflow")
    expect_json(request)
    with ingress_of(request).bodies.lease() as lease:
        raw = await lease.read(request)
        given = decode_object(raw, field="body") if raw.strip() else {}
    try:
        return form.model_validate(given)
    except ValidationError as error:
        errors = [
            ItemError(field=".".join(map(str, one["loc"][:1]))[:200], message=one["msg"])
            for one in error.errors(include_url=False)
        ]
        raise Problem(
            422, "invalid-input", f"{errors[0].field}: {errors[0].message}.", errors=errors
        ) from error


def _gone(id: str) -> Problem:
    return Problem(404, "not-found", f"Instance {id[:200]!r} was deleted meanwhile.")
