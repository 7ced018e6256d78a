"""The route that changes how many actors run a workflow."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from raysume.serve_apps.ingress import schemas
from raysume.serve_apps.ingress.envelopes import decode_object
from raysume.serve_apps.ingress.problems import Problem, json_response
from raysume.serve_apps.ingress.requests import expect_json, ingress_of, only_parameters

router = APIRouter(prefix="/v1", tags=["deployment"])


@router.post(
    "/workflows/{name}:scale",
    summary="Run a workflow on more or fewer actors",
    response_model=None,
    openapi_extra=schemas.body(schemas.ScaleBody),
    responses=schemas.answers(
        (200, schemas.Scaled, "The members, and the shards of each"),
        refusals=(400, 404, 413, 415, 422, 503),
    ),
)
async def scale_workflow(request: Request, name: str) -> Response:
    """Answers once each member has its share. Calls go on; none is lost, none counts twice."""
    only_parameters(request)
    expect_json(request)
    ingress = ingress_of(request)
    with ingress.bodies.lease() as lease:
        given = decode_object(await lease.read(request), field="body")
    try:
        asked = schemas.ScaleBody.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))[:200]
        raise Problem(422, "invalid-input", f"{where}: {first['msg']}.") from error
    return json_response(await ingress.engine.resize(name, asked.members, asked.version))
