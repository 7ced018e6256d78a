"""Routes that ask an instance: the `@query` methods of its Container."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from raysume.serve_apps.ingress import instances, schemas
from raysume.serve_apps.ingress.envelopes import decode_object
from raysume.serve_apps.ingress.problems import ItemError, Problem, json_response
from raysume.serve_apps.ingress.requests import expect_json, ingress_of, only_parameters

router = APIRouter(prefix="/v1", tags=["instances"])

_Workflow = Annotated[str | None, Query(description="Needed when several workflows use the id.")]
_ANSWERS = schemas.answers(
    (200, schemas.Answer, "The answer"), refusals=(400, 404, 409, 413, 415, 422, 503)
)


@router.get(
    "/instances/{id}/query/{name}",
    summary="Ask an instance",
    response_model=None,
    responses=_ANSWERS,
)
async def ask_plainly(request: Request, id: str, name: str, workflow: _Workflow = None) -> Response:
    """Answered from the saved state, which stays as it is. Arguments are query parameters."""
    given = {key: value for key, value in request.query_params.items() if key != "workflow"}
    return await _answer(request, id, name, workflow, msgspec.json.encode(given), is_text=True)


@router.post(
    "/instances/{id}/query/{name}",
    summary="Ask an instance with arguments of any type",
    response_model=None,
    openapi_extra=schemas.body(schemas.QueryBody),
    responses=_ANSWERS,
)
async def ask(request: Request, id: str, name: str, workflow: _Workflow = None) -> Response:
    """Answered from the saved state, which stays as it is."""
    only_parameters(request, "workflow")
    expect_json(request)
    with ingress_of(request).bodies.lease() as lease:
        raw = await lease.read(request)
        body = decode_object(raw, field="body") if raw.strip() else {}
        given: Any = body.get("input", {})
        wrong = [key[:200] for key in body if key != "input"]
        if wrong or not isinstance(given, dict):
            field = wrong[0] if wrong else "input"
            message = "is not a field here" if wrong else "must be an object: arguments by name"
            raise Problem(
                422,
                "invalid-input",
                f'{field}: {message}. The body is {{"input": {{arguments by name}}}}.',
                errors=[ItemError(field=field, message=message)],
            )
        arguments = msgspec.json.encode(given)
    return await _answer(request, id, name, workflow, arguments, is_text=False)


async def _answer(
    request: Request, id: str, name: str, workflow: str | None, arguments: bytes, *, is_text: bool
) -> Response:
    ingress = ingress_of(request)
    pool, _ = await instances.find(ingress, id, workflow)
    answer = await ingress.engine.query(pool, id, name, arguments, is_text)
    if answer is None:
        raise Problem(404, "not-found", f"Instance {id[:200]!r} was deleted meanwhile.")
    return json_response({"result": msgspec.Raw(answer)})
