"""Routes that show what is deployed, and whether all is well."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from raysume.serve_apps.ingress import schemas
from raysume.serve_apps.ingress.engine import WorkflowEntry
from raysume.serve_apps.ingress.problems import json_response
from raysume.serve_apps.ingress.requests import ingress_of, only_parameters

router = APIRouter(tags=["deployment"])


@router.get(
    "/v1/workflows",
    summary="List workflows",
    response_model=None,
    responses=schemas.answers((200, schemas.WorkflowList, "All"), refusals=(503,)),
)
async def list_workflows(request: Request) -> Response:
    """All workflows by name, each with its active version."""
    only_parameters(request)
    by_name: dict[str, list[WorkflowEntry]] = {}
    for entry in ingress_of(request).catalogue.workflows:
        by_name.setdefault(entry.name, []).append(entry)
    return json_response({"items": [_workflow(by_name[name]) for name in sorted(by_name)]})


def _workflow(entries: list[WorkflowEntry]) -> dict[str, Any]:
    active = next((entry for entry in entries if entry.active), None)
    shown = active or entries[-1]
    return {
        "name": shown.name,
        "version": None if active is None else active.version,
        "versions": list(dict.fromkeys(entry.version for entry in entries)),
        "has_parameters": shown.has_parameters,
        "input_schema": shown.input_schema,
        "subscribes": shown.subscribes,
    }


@router.get(
    "/v1/versions",
    summary="List versions",
    response_model=None,
    responses=schemas.answers((200, schemas.VersionList, "All"), refusals=(503,)),
)
async def list_versions(request: Request) -> Response:
    """All versions of all workflows."""
    only_parameters(request)
    entries = ingress_of(request).catalogue.workflows
    return json_response(
        {
            "items": [
                {
                    "workflow": entry.name,
                    "version": entry.version,
                    "active": entry.active,
                    "pool": entry.pool,
                }
                for entry in sorted(entries, key=lambda one: (one.name, not one.active))
            ]
        }
    )


@router.get("/v1/health", include_in_schema=False, response_model=None)
@router.get(
    "/health",
    summary="Whether calls can be accepted",
    response_model=None,
    responses={
        200: {"model": schemas.Health, "description": "Yes"},
        503: {"model": schemas.Health, "description": "Not now"},
    },
    openapi_extra={"security": []},
)
async def health(request: Request) -> Response:
    """Needs no token."""
    found = ingress_of(request).health()
    return json_response(found, status=200 if found["status"] == "ok" else 503)
