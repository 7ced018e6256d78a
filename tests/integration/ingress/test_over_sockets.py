"""The ingress under uvicorn on 127.0.0.1, over a call log in SQLite."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from tests.unit.ingress.fakes import TOKENS, FakeEngine, as_json, call

from raysume.limits import REQUEST_BODY_BYTES_MAX
from raysume.serve_apps.ingress import build_app
from raysume.storage.call_ports import CallLog, CallQuery
from raysume.storage.processes import owner_of_this_process
from raysume.storage.sqlite.calls import SqliteCallLog

HEADERS = {"Authorization": "Bearer operator", "Content-Type": "application/json"}
POOL = "approval@v1/0"


class Announcing(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, app: Any) -> None:
        super().__init__(
            uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2, lifespan="on")
        )
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@asynccontextmanager
async def serving(app: Any) -> AsyncGenerator[str]:
    """The app answers at the yielded address until the block ends."""
    # asyncio turns off Nagle's delay only for sockets that say that they are TCP.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        server = Announcing(app)
        task = asyncio.create_task(server.serve([listener]))
        await server.listening.wait()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


@asynccontextmanager
async def ingress_on(
    folder: Path,
) -> AsyncGenerator[tuple[httpx.AsyncClient, FakeEngine, Any, CallLog]]:
    log = SqliteCallLog(folder / "calls.db")
    engine = FakeEngine(log)
    app = build_app(engine, log, TOKENS, owner=owner_of_this_process("ingress"))
    try:
        async with (
            serving(app) as url,
            httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=30) as client,
        ):
            yield client, engine, app.state.ingress, log
    finally:
        log.close()


def stored(log: CallLog) -> list[str]:
    return [one.call.id for one in log.list_calls(CallQuery(limit=100_000))]


async def test_concurrent_requests_are_grouped_and_every_call_arrives_once(tmp_path: Path) -> None:
    async with ingress_on(tmp_path) as (client, engine, ingress, log):
        count = 400
        answers = await asyncio.gather(
            *(client.post("/v1/calls", content=as_json(call(n))) for n in range(count))
        )
        assert {answer.status_code for answer in answers} == {202}
        ids = {answer.json()["id"] for answer in answers}
        assert len(ids) == count
        assert ingress.appends < count
        await ingress.all_delivered()
        assert engine.pool(POOL).calls == stored(log)
        assert set(engine.pool(POOL).calls) == ids


async def test_calls_of_one_connection_keep_their_order(tmp_path: Path) -> None:
    async with ingress_on(tmp_path) as (client, engine, ingress, _):
        for n in range(30):
            batch = [call(n, id=f"c{n}-{m}") for m in range(3)]
            answer = await client.post("/v1/calls:batch", content=as_json(batch))
            assert answer.status_code == 202
        await ingress.all_delivered()
        expected = [f"c{n}-{m}" for n in range(30) for m in range(3)]
        assert engine.pool(POOL).calls == expected


async def test_pipelined_requests_are_answered_and_stored_in_order(tmp_path: Path) -> None:
    async with ingress_on(tmp_path) as (client, engine, ingress, _):
        host, port = str(client.base_url.host), client.base_url.port
        reader, writer = await asyncio.open_connection(host, port)
        for n in range(20):
            body = as_json(call(n, id=f"c{n}"))
            writer.write(
                b"POST /v1/calls HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer operator\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )
        await writer.drain()
        for n in range(20):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 202")
            [length] = [
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            ]
            assert await reader.readexactly(length) == b'{"id":"c%d"}' % n
        writer.close()
        await writer.wait_closed()
        await ingress.all_delivered()
        assert engine.pool(POOL).calls == [f"c{n}" for n in range(20)]


async def test_a_slow_pool_makes_429_for_its_methods_only_and_catches_up(tmp_path: Path) -> None:
    async with ingress_on(tmp_path) as (client, engine, ingress, log):
        pool = engine.pool(POOL)
        pool.gate.clear()
        batch = as_json([call(n) for n in range(5_000)])
        answer = await client.post("/v1/calls:batch", content=batch)
        statuses = [answer.status_code]
        while 429 not in statuses:
            assert len(statuses) < 15
            answer = await client.post("/v1/calls:batch", content=batch)
            statuses.append(answer.status_code)
        assert answer.json()["code"] == "overloaded"
        assert POOL in answer.json()["detail"]
        assert int(answer.headers["retry-after"]) >= 1
        paid = await client.post("/v1/calls", content=as_json(call(method="orders.paid")))
        assert paid.status_code == 202
        pool.gate.set()
        await ingress.all_delivered()
        assert len(pool.calls) == 5_000 * (len(statuses) - 1)
        again = await client.post("/v1/calls", content=as_json(call()))
        assert again.status_code == 202
        await ingress.all_delivered()
        wanted = [one for one in stored(log) if one != paid.json()["id"]]
        assert pool.calls == wanted


async def test_too_large_a_body_gets_its_answer_although_it_is_not_kept(tmp_path: Path) -> None:
    async with ingress_on(tmp_path) as (client, _, _, log):
        answer = await client.post("/v1/calls", content=b" " * (REQUEST_BODY_BYTES_MAX + 500_000))
        assert (answer.status_code, answer.json()["code"]) == (413, "too-large")

        async def endless() -> AsyncGenerator[bytes]:
            for _ in range(20):
                yield b" " * 1_000_000

        answer = await client.post("/v1/calls", content=endless())
        assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
        answer = await client.post("/v1/calls", content=as_json(call(id="still here")))
        assert answer.status_code == 202
        assert stored(log) == ["still here"]


async def test_a_refusal_before_the_body_leaves_the_connection_usable(tmp_path: Path) -> None:
    async with ingress_on(tmp_path) as (client, _, _, _):
        for _ in range(3):
            answer = await client.post(
                "/v1/calls", content=b" " * 1_000_000, headers={"Authorization": "Bearer wrong"}
            )
            assert answer.status_code == 401
            assert (await client.get("/health")).status_code == 200


async def test_a_client_that_goes_away_in_its_body_disturbs_nobody(tmp_path: Path) -> None:
    async with ingress_on(tmp_path) as (client, _, ingress, log):
        for _ in range(5):
            _, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
            writer.write(
                b"POST /v1/calls:batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer operator\r\n"
                b"Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n[{"
            )
            await writer.drain()
            writer.transport.abort()
        answer = await client.post("/v1/calls", content=as_json(call(id="c1")))
        assert answer.status_code == 202
        assert stored(log) == ["c1"]
        assert ingress.bodies.held == 0


async def test_rubbish_instead_of_http_disturbs_nobody(tmp_path: Path) -> None:
    async with ingress_on(tmp_path) as (client, _, _, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(os.urandom(2_000) + b"\r\n\r\n")
        await writer.drain()
        answer = await reader.read()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
        writer.close()
        assert (await client.get("/health")).status_code == 200


@pytest.mark.row(59)
async def test_a_token_of_the_wrong_service_pushes_nothing_and_that_of_the_right_one_does(
    tmp_path: Path,
) -> None:
    async with ingress_on(tmp_path) as (client, engine, ingress, log):
        wrong, right = ({"Authorization": f"Bearer {service}"} for service in ("other", "shop"))
        batch = as_json([call(1, method="orders.paid"), call(2)])
        for path, body in (("/v1/calls", as_json(call())), ("/v1/calls:batch", batch)):
            refused = await client.post(path, content=body, headers=wrong)
            assert (refused.status_code, refused.json()["code"]) == (403, "not-external")
            assert "external=True" in refused.json()["detail"]
            unknown = await client.post(path, content=body.replace(b"orders.", b"order."))
            assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown-method")
        await ingress.all_delivered()
        assert stored(log) == []
        assert engine.pool(POOL).calls == []
        accepted = await client.post("/v1/calls:batch", content=batch, headers=right)
        assert accepted.status_code == 202
        await ingress.all_delivered()
        assert engine.pool(POOL).calls == stored(log)[1:]


_CHILD = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from tests.unit.ingress import fakes
import structlog, uvicorn
from raysume.serve_apps.ingress import build_app
from raysume.storage.processes import owner_of_this_process
from raysume.storage.sqlite.calls import SqliteCallLog
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
log = SqliteCallLog(sys.argv[1])
app = build_app(fakes.FakeEngine(log), log, fakes.TOKENS, owner=owner_of_this_process("ingress"))
class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)
Server(uvicorn.Config(app, port=0, log_level="error")).run()
"""


def _serve_in_a_process(database: Path) -> subprocess.Popen[str]:
    """A process that serves the ingress and has printed its port."""
    fakes = Path(__file__).parents[3]
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(database), str(fakes)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


async def test_after_a_kill_every_acknowledged_call_is_adopted_and_delivered(
    tmp_path: Path,
) -> None:
    child = _serve_in_a_process(tmp_path / "calls.db")
    assert child.stdout is not None
    port = int(await asyncio.to_thread(child.stdout.readline))
    acknowledged: list[str] = []

    async def push(client: httpx.AsyncClient, name: str) -> None:
        for n in range(10_000):
            batch = [call(n, id=f"{name}-{n}-{m}") for m in range(5)]
            try:
                answer = await client.post("/v1/calls:batch", content=as_json(batch))
            except httpx.HTTPError:
                return
            if answer.status_code == 202:
                acknowledged.extend(f"{name}-{n}-{m}" for m in range(5))
            if len(acknowledged) > 1_000 and child.poll() is None:
                os.kill(child.pid, signal.SIGKILL)

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=HEADERS) as client:
        await asyncio.gather(*(push(client, name) for name in "abcd"))
    child.wait()
    child.stdout.close()

    async with ingress_on(tmp_path) as (client, engine, ingress, log):
        assert [one.open for one in log.partitions()].count(True) == 1
        await client.post("/v1/calls", content=as_json(call(id="after")))
        await ingress.all_delivered()
        delivered = engine.pool(POOL).calls
        assert len(delivered) == len(set(delivered))
        assert set(acknowledged) <= set(delivered)
        assert delivered[-1] == "after"
        for name in "abcd":
            own = [one for one in delivered if one.startswith(f"{name}-")]
            assert own == sorted(own, key=lambda one: [int(x) for x in one.split("-")[1:]])
        retried = await client.post("/v1/calls", content=as_json(call(0, id=acknowledged[0])))
        assert (retried.status_code, retried.json()["duplicate"]) == (200, True)
