"""An app with its log and engine, served to a client without a socket."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from tests.unit.ingress.fakes import TOKENS, FakeEngine, as_json

from raysume.serve_apps.ingress import build_app
from raysume.storage.call_ports import CallLog, CallQuery
from raysume.storage.memory.calls import MemoryCallLog

OPERATOR = {"Authorization": "Bearer operator"}
NDJSON = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}


class Served:
    """An app with its log and engine, and a client that holds the operator's token."""

    def __init__(self, log: CallLog, engine: FakeEngine, app: Any) -> None:
        self.log, self.engine, self.app = log, engine, app
        self.ingress = app.state.ingress
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test", headers=OPERATOR
        )

    async def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        content = body if isinstance(body, bytes) else as_json(body)
        headers = {**JSON, **more.pop("headers", {})}
        return await self.client.post(path, content=content, headers=headers, **more)

    def stored(self) -> list[str]:
        return [one.call.id for one in self.log.list_calls(CallQuery(limit=100_000))]

    def refused(self, answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
        """The problem details; nothing of the request was stored."""
        body: dict[str, Any] = answer.json()
        assert (answer.status_code, body["code"]) == (status, code), body
        assert answer.headers["content-type"] == "application/problem+json"
        assert body["status"] == status
        assert body["title"]
        assert self.stored() == []
        return body


@asynccontextmanager
async def served(
    engine: FakeEngine | None = None, *, owner: str = "1:0:test"
) -> AsyncGenerator[Served]:
    engine = engine or FakeEngine(MemoryCallLog())
    app = build_app(engine, engine.log, TOKENS, owner=owner)
    async with app.router.lifespan_context(app):
        one = Served(engine.log, engine, app)
        async with one.client:
            yield one
