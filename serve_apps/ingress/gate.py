"""What stands before every request: the bearer token, and an answer whatever goes wrong.

Requests that push calls go from here straight to their handler: routing, dependency
solving and response handling of the framework cost more than accepting a call does.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raysume.errors import RaysumeError
from raysume.serve_apps.ingress.bodies import Disconnected
from raysume.serve_apps.ingress.problems import Problem, problem_of
from raysume.serve_apps.ingress.tokens import Principal, TokenBook

OPEN_PATHS = frozenset({"/health", "/v1/health", "/docs", "/openapi.json"})
"""Paths that need no token."""

PRINCIPAL = "raysume.principal"
"""Key of the request's scope under which its principal stands."""

_log = structlog.get_logger("raysume.ingress")


Handler = Callable[[Request], Awaitable[Response]]


class Gate:
    """Requests without a known token go no further; every error leaves as problem details.

    Args:
        app: the framework's routes.
        tokens: who may come in.
        direct: verb and path of the requests that bypass `app`; it has a route with the same
            handler for each of them, for the documentation.
    """

    def __init__(
        self, app: ASGIApp, tokens: TokenBook, direct: Mapping[tuple[str, str], Handler]
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._direct = direct

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            if path not in OPEN_PATHS:
                scope[PRINCIPAL] = self._principal(scope)
            handler = self._direct.get((scope["method"], path))
            if handler is None:
                await self._app(scope, receive, watch)
            else:
                response = await handler(Request(scope, receive))
                await response(scope, receive, watch)
        except Disconnected:
            return
        except Exception as error:
            problem = _problem_of(error, scope)
            if started:
                raise
            await problem.response()(scope, receive, send)

    def _principal(self, scope: Scope) -> Principal:
        for name, value in scope["headers"]:
            if name == b"authorization":
                scheme, _, token = value.partition(b" ")
                if scheme.lower() != b"bearer":
                    break
                known = self._tokens.principal_of(token.strip().decode("latin-1"))
                if known is not None:
                    return known
                raise _unauthorized("The bearer token is not known here.", error="invalid_token")
        raise _unauthorized(
            "Send the header `Authorization: Bearer <token>`. `raysume dev` writes a token into "
            "its data directory."
        )


def _unauthorized(detail: str, *, error: str | None = None) -> Problem:
    challenge = "Bearer" if error is None else f'Bearer error="{error}"'
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": challenge})


def _problem_of(error: Exception, scope: Scope) -> Problem:
    if isinstance(error, Problem):
        return error
    known = problem_of(error) if isinstance(error, RaysumeError) else None
    if known is not None:
        return known
    id = uuid.uuid4().hex
    _log.error(
        "request_failed",
        id=id,
        method=scope["method"],
        path=scope["path"],
        error=repr(error),
        exc_info=error,
    )
    return Problem(
        500,
        "internal",
        f"An unexpected error, logged under id {id}. The engine goes on; please report it.",
        id=id,
    )
