"""The ASGI app: routes, gate and documentation around one ingress."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from raysume.limits import CALL_RETENTION
from raysume.serve_apps.ingress import (
    call_routes,
    catalogue_routes,
    command_routes,
    documentation,
    instance_routes,
    query_routes,
    rewind_routes,
    scale_routes,
    schemas,
    wait_routes,
)
from raysume.serve_apps.ingress.engine import Engine
from raysume.serve_apps.ingress.gate import Gate
from raysume.serve_apps.ingress.ingress import Ingress
from raysume.serve_apps.ingress.problems import ItemError, Problem
from raysume.serve_apps.ingress.tokens import TokenBook
from raysume.storage.call_ports import CallLog


def build_app(
    engine: Engine,
    call_log: CallLog,
    tokens: TokenBook,
    *,
    owner: str,
    call_retention: timedelta = CALL_RETENTION,
) -> FastAPI:
    """An app that accepts calls and starts, reads and awaits instances over HTTP.

    Its lifespan starts and stops the ingress, which is `app.state.ingress`.

    Args:
        engine: the rest of the cluster.
        call_log: stays open; its opener closes it after the app has stopped.
        tokens: who may ask for what.
        owner: "pid:start_time:label" of this process (`owner_of_this_process`).
        call_retention: how long the engine keeps calls, for messages.
    """
    ingress = Ingress(engine, call_log, tokens, owner=owner, call_retention=call_retention)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        await ingress.start()
        try:
            yield
        finally:
            await ingress.stop()

    app = FastAPI(
        title="raysume",
        version="1",
        description="Push calls, start workflows, await their results.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.ingress = ingress
    for routes in (
        wait_routes,
        call_routes,
        command_routes,
        query_routes,
        rewind_routes,
        scale_routes,
        instance_routes,
        catalogue_routes,
        documentation,
    ):
        app.include_router(routes.router)
    app.add_exception_handler(HTTPException, _refuse_http)
    app.add_exception_handler(RequestValidationError, _refuse_parameters)
    app.add_middleware(Gate, tokens=tokens, direct=call_routes.DIRECT)
    document: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not document:
            document.update(_openapi(app))
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document: with the token scheme and the problem details shared by all routes."""
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    components = document.setdefault("components", {})
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    problem = schemas.ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
    components.setdefault("schemas", {}).update(problem.pop("$defs", {}))
    components["schemas"]["ProblemDetails"] = problem
    document["security"] = [{"token": []}]
    return document


async def _refuse_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: "not-found", 405: "method-not-allowed"}
    detail = (
        "There is nothing at this path. See /docs."
        if error.status_code == 404
        else str(error.detail)
    )
    problem = Problem(
        error.status_code,
        codes.get(error.status_code, "refused"),
        detail,
        headers=dict(error.headers or {}),
    )
    return problem.response()


async def _refuse_parameters(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        ItemError(field=".".join(str(part) for part in one["loc"][1:]), message=str(one["msg"]))
        for one in error.errors()
    ]
    detail = f"{errors[0].field}: {errors[0].message}"
    return Problem(422, "bad-parameter", detail, errors=errors).response()
