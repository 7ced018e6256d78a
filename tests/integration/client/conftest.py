"""An engine's HTTP surface for clients to talk to: real sockets, calls kept in memory."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import raysume
from raysume import publishing

TOKEN = "secret-token"


def problem(status: int, code: str, detail: str = "", **more: Any) -> Response:
    headers = more.pop("headers", None)
    body = {"status": status, "code": code, "title": code, "detail": detail or code, **more}
    return JSONResponse(
        body, status_code=status, headers=headers, media_type="application/problem+json"
    )


@dataclass
class Engine:
    """Keeps to the HTTP contract; `failures` are answered first, one each."""

    url: str = ""
    token: str = TOKEN
    calls: list[dict[str, Any]] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    publishers: dict[str, int] = field(default_factory=dict)
    instances: dict[str, dict[str, Any]] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: list[Response] = field(default_factory=list)
    lose_answers: int = 0
    """So many pushes are accepted, but answered with 503."""
    requests: list[str] = field(default_factory=list)
    in_flight: int = 0
    in_flight_max: int = 0
    arrived: threading.Condition = field(default_factory=threading.Condition)
    late: int | None = None
    """The batch that begins with this sequence is taken only when a later one was refused as early."""
    early: asyncio.Event = field(default_factory=asyncio.Event)

    def wait_for(self, count: int, timeout: float = 20.0) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.calls) >= count, timeout)

    def inputs(self) -> list[Any]:
        return [call["input"] for call in self.calls]

    # --- routes ------------------------------------------------------------------

    def refuse(self, request: Request) -> Response | None:
        self.requests.append(f"{request.method} {request.url.path}")
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return problem(401, "unauthorized", "A bearer token is required")
        return self.failures.pop(0) if self.failures else None

    def accept(self, calls: list[dict[str, Any]], publisher: str | None, first: int) -> Response:
        for item, call in enumerate(calls):
            if call["method"].startswith("unknown"):
                message = f"there is no method {call['method']!r}"
                return problem(
                    422,
                    "unknown-method",
                    f"Call {item}, method: {message}",
                    errors=[{"item": item, "field": "method", "message": message}],
                )
            if call["method"].startswith("poison"):
                return problem(400, "malformed", "The body is not usable")
            known = self.ids.get(call.get("id", ""))
            if known is not None and known != json.dumps(call, sort_keys=True):
                return problem(
                    409, "duplicate-call", errors=[{"item": item, "field": "id", "message": "used"}]
                )
        duplicates = 0
        for item, call in enumerate(calls):
            expected = self.publishers.get(publisher or "", 0)
            if call.get("id") in self.ids or (publisher and first + item < expected):
                duplicates += 1
                continue
            if publisher:
                self.publishers[publisher] = first + item + 1
            if "id" in call:
                self.ids[call["id"]] = json.dumps(call, sort_keys=True)
            self.calls.append(call)
        with self.arrived:
            self.arrived.notify_all()
        if self.lose_answers:
            self.lose_answers -= 1
            return problem(503, "unavailable", "The outcome is not known")
        return JSONResponse(
            {"accepted": len(calls) - duplicates, "duplicates": duplicates}, status_code=202
        )

    async def one(self, request: Request) -> Response:
        refusal = self.refuse(request)
        if refusal is not None:
            return refusal
        call = await request.json()
        known = call.get("id") in self.ids
        answer = self.accept([call], None, 0)
        if answer.status_code != 202:
            return answer
        body = {"id": call.get("id", f"made-{len(self.calls)}")}
        return JSONResponse(
            body | ({"duplicate": True} if known else {}), status_code=200 if known else 202
        )

    async def batch(self, request: Request) -> Response:
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        try:
            refusal = self.refuse(request)
            if refusal is not None:
                return refusal
            if request.headers.get("Content-Type") != "application/x-ndjson":
                return problem(415, "unsupported-media-type", "Send one call a line")
            calls = [json.loads(line) for line in (await request.body()).splitlines()]
            publisher = request.headers.get("Raysume-Publisher")
            first = int(request.headers.get("Raysume-Sequence", 0))
            if first == self.late:
                await asyncio.wait_for(self.early.wait(), 20)
            in_order = request.headers.get("Raysume-In-Order") == "true"
            if in_order and self.publishers.get(publisher or "", first) < first:
                self.early.set()
                return problem(412, "out-of-order", "Earlier calls are missing")
            return self.accept(calls, publisher, first)
        finally:
            self.in_flight -= 1

    async def start(self, request: Request) -> Response:
        refusal = self.refuse(request)
        if refusal is not None:
            return refusal
        name, body = request.path_params["name"], await request.json()
        if name == "nowhere":
            return problem(404, "not-found", f"There is no workflow {name!r}")
        if name == "by_calls":
            return problem(409, "started-by-calls", "It is started by calls")
        id = body.get("id") or f"made-{len(self.instances)}"
        known = id in self.instances
        facts = self.instances.setdefault(id, self.facts(id, name) | {"input": body["input"]})
        return JSONResponse(facts, status_code=200 if known else 201)

    def facts(self, id: str, workflow: str, status: str = "waiting") -> dict[str, Any]:
        return {
            "id": id,
            "workflow": workflow,
            "version": "abc123",
            "status": status,
            "started_at": "2024-05-01T10:00:00+00:00",
            "updated_at": "2024-05-01T10:00:01+00:00",
            "error": None,
            "waits": [{"name": None, "method": "orders.paid"}],
            "tags": {"number": len(self.instances)},
        }

    async def instance(self, request: Request) -> Response:
        refusal = self.refuse(request)
        if refusal is not None:
            return refusal
        id, what = request.path_params["id"], request.path_params.get("what")
        facts = self.instances.get(id)
        if facts is None:
            return problem(404, "not-found", f"There is no instance {id!r}")
        match what:
            case "state":
                frame = {"definition": "fulfil", "file": "a.py", "line": 7, "wait": "paid"}
                return JSONResponse({"frames": [frame | {"locals": {"x": 1}}]})
            case "result":
                result = self.results.get(id)
                if result is None:
                    return JSONResponse({"status": facts["status"]}, status_code=202)
                return JSONResponse(result)
            case _:
                return JSONResponse(facts)

    async def listing(self, request: Request) -> Response:
        refusal = self.refuse(request)
        if refusal is not None:
            return refusal
        query, kind = request.query_params, request.path_params["kind"]
        if kind == "workflows":
            assert not query
            row = {"name": "fulfil", "version": "abc123", "versions": ["abc123"]}
            return JSONResponse({"items": [row | {"has_parameters": True, "subscribes": []}]})
        rows: list[dict[str, Any]] = list(self.instances.values())
        if kind == "calls":
            at = "2024-05-01T10:00:00.000001+00:00"
            rows = [
                {"id": str(n), "service": "shop", "at": at, **c} for n, c in enumerate(self.calls)
            ]
        for term in ("workflow", "status", "method", "service"):
            if term in query:
                rows = [row for row in rows if row[term] == query[term]]
        for tag in query.getlist("tag"):
            name, _, value = tag.partition(":")
            rows = [row for row in rows if str(row["tags"].get(name)) == value]
        start, size = int(query.get("after", 0)), min(int(query["limit"]), 3)
        more = str(start + size) if start + size < len(rows) else None
        return JSONResponse({"items": rows[start : start + size], "next": more})

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/calls", self.one, methods=["POST"]),
                Route("/v1/calls:batch", self.batch, methods=["POST"]),
                Route("/v1/workflows/{name}/instances", self.start, methods=["POST"]),
                Route("/v1/instances/{id}", self.instance),
                Route("/v1/instances/{id}/{what}", self.instance),
                Route("/v1/{kind}", self.listing),
                Route("/health", self.health),
            ]
        )


class Served:
    """An engine behind a real socket; it can go away and come back at the same port."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.port = engine, 0
        self.start()

    def start(self) -> None:
        config = uvicorn.Config(
            self.engine.app(), host="127.0.0.1", port=self.port, log_level="error", lifespan="off"
        )
        self.server = uvicorn.Server(config)
        socket = config.bind_socket()
        self.port = socket.getsockname()[1]
        self.engine.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.run, args=([socket],))
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = True
        self.server.force_exit = True
        self.thread.join()


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served(Engine())
    yield served
    if served.thread.is_alive():
        served.stop()


@pytest.fixture
def engine(served: Served) -> Engine:
    return served.engine


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty data directory, and nothing configured but it."""
    for name in ("URL", "TOKEN", "SERVICE", "PUBLISH"):
        monkeypatch.delenv(f"RAYSUME_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYSUME_DATA_DIR", str(tmp_path / "data"))
    raysume.configure(url=None, token=None, data_dir=None, service=None)
    yield tmp_path / "data"
    publishing.close()
