"""Routes that change one instance: cancel and retry."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from raysume.limits import REASON_CHARS_MAX
from raysume.serve_apps.ingress import instances, schemas
from raysume.serve_apps.ingress.envelopes import decode_object
from raysume.serve_apps.ingress.problems import ItemError, Problem, json_response
from raysume.serve_apps.ingress.requests import expect_json, ingress_of, only_parameters

router = APIRouter(prefix="/v1", tags=["instances"])

_Workflow = Annotated[str | None, Query(description="Needed when several workflows use the id.")]
_ANSWERS = schemas.answers(
    (200, schemas.Instance, "The instance afterwards"),
    refusals=(400, 404, 409, 413, 415, 422, 503),
)


@router.post(
    "/instances/{id}:cancel",
    summary="Cancel an instance",
    response_model=None,
    openapi_extra=schemas.body(schemas.CommandBody),
    responses=_ANSWERS,
)
async def cancel_instance(request: Request, id: str, workflow: _Workflow = None) -> Response:
    """It unwinds: `finally` blocks and compensations run first. A finished one stays as it is."""
    return await _command(request, "cancel", id, workflow)


@router.post(
    "/instances/{id}:retry",
    summary="Retry a failed instance",
    response_model=None,
    openapi_extra=schemas.body(schemas.CommandBody),
    responses=_ANSWERS,
)
async def retry_instance(request: Request, id: str, workflow: _Workflow = None) -> Response:
    """It goes on from its last saved point, with the same call again."""
    return await _command(request, "retry", id, workflow)


async def _command(request: Request, kind: str, id: str, workflow: str | None) -> Response:
    only_parameters(request, "workflow")
    expect_json(request)
    ingress = ingress_of(request)
    with ingress.bodies.lease() as lease:
        raw = await lease.read(request)
        reason = _reason(decode_object(raw, field="body") if raw.strip() else {})
    pool, _ = await instances.find(ingress, id, workflow)
    found = await ingress.engine.command(pool, id, kind, reason)
    if found is None:
        raise Problem(404, "not-found", f"Instance {id[:200]!r} was deleted meanwhile.")
    return json_response(found)


def _reason(body: dict[str, Any]) -> str:
    reason: Any = body.get("reason", "")
    errors = [
        ItemError(field=name[:200], message="is not a field here")
        for name in body
        if name != "reason"
    ]
    if not isinstance(reason, str) or len(reason) > REASON_CHARS_MAX:
        message = f"must be a text of at most {REASON_CHARS_MAX} characters"
        errors.append(ItemError(field="reason", message=message))
    if errors:
        raise Problem(
            422,
            "invalid-input",
            f'{errors[0].field}: {errors[0].message}. The body is {{"reason"?: text}}.',
            errors=errors,
        )
    return str(reason)
