"""What the HTTP ingress costs by itself: uvicorn, SQLite with fsync, pools that only count.

    python -m scale_tests.ingress_costs --seconds 5

prints one JSON line for each kind of request: requests and calls a second, and the CPU of
the server's process for one call. The load generator runs in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

POOL = "flights@v1/0"
METHOD = "flights.scheduled"
SCHEMA = {
    "type": "object",
    "properties": {
        "flight": {"type": "integer"},
        "carrier": {"type": "string"},
        "origin": {"type": "string"},
        "at": {"type": "string", "format": "date-time"},
        "delay": {"anyOf": [{"type": "number"}, {"type": "null"}]},
    },
    "required": ["flight", "carrier", "origin", "at"],
}


class CountingEngine:
    """Takes every delivery and does nothing with it."""

    async def catalogue(self, known: int) -> Any:
        """See `Engine`."""
        from raysume.serve_apps.ingress import Catalogue, MethodEntry

        if known == 1:
            await asyncio.Event().wait()
        return Catalogue(
            version=1,
            generation=1,
            methods={
                METHOD: MethodEntry(
                    urn=METHOD,
                    service="flights",
                    external=True,
                    local_only=False,
                    input_schema=SCHEMA,
                    output_schema=None,
                )
            },
            workflows=[],
            pools={POOL: frozenset({METHOD})},
        )

    async def deliver(self, *_: object) -> int:
        """See `Engine`."""
        return 0


def serve(folder: Path) -> None:
    """The ingress answers at a port of 127.0.0.1, printed in the first line, until killed."""
    import structlog
    import uvicorn
    import uvloop

    from raysume.serve_apps.ingress import FixedTokens, Principal, build_app
    from raysume.storage.processes import owner_of_this_process
    from raysume.storage.sqlite.calls import SqliteCallLog

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    log = SqliteCallLog(folder / "calls.db")
    tokens = FixedTokens({"t": Principal(kind="operator")})
    engine: Any = CountingEngine()
    app = build_app(engine, log, tokens, owner=owner_of_this_process("ingress"))
    # asyncio turns off Nagle's delay only for sockets that say that they are TCP.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_level="error", access_log=False)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(uvicorn.Server(config).serve([listener]))


def request(path: str, body: bytes) -> bytes:
    """The bytes of one POST."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def call(number: int) -> dict[str, Any]:
    """A call of ordinary size."""
    return {
        "method": METHOD,
        "input": {
            "flight": number,
            "carrier": "UA",
            "origin": "EWR",
            "at": "2013-02-08T05:15:00-05:00",
            "delay": 2.5,
        },
    }


async def load(port: int, message: bytes, connections: int, seconds: float) -> list[float]:
    """The duration of every answered request, from connections that each keep one under way."""
    end = time.perf_counter() + seconds
    durations: list[float] = []

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (begun := time.perf_counter()) < end:
            writer.write(message)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 202"), head
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            durations.append(time.perf_counter() - begun)
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return durations


def measure(folder: Path, size: int, connections: int, seconds: float) -> dict[str, Any]:
    """One kind of load against a new server."""
    server = subprocess.Popen(
        [sys.executable, "-m", "scale_tests.ingress_costs", "--serve", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        if size == 1:
            message = request("/v1/calls", json.dumps(call(1)).encode())
        else:
            batch = json.dumps([call(number) for number in range(size)]).encode()
            message = request("/v1/calls:batch", batch)
        asyncio.run(load(port, message, connections, 0.5))
        process = psutil.Process(server.pid)
        before = process.cpu_times()
        begun = time.perf_counter()
        durations = sorted(asyncio.run(load(port, message, connections, seconds)))
        took = time.perf_counter() - begun
        after = process.cpu_times()
        cpu = after.user + after.system - before.user - before.system
        count = len(durations)
        return {
            "calls_per_request": size,
            "connections": connections,
            "requests_per_s": round(count / took),
            "calls_per_s": round(count * size / took),
            "cpu_us_per_call": round(cpu / (count * size) * 1e6, 1),
            "p50_ms": round(durations[count // 2] * 1000, 2),
            "p99_ms": round(durations[count * 99 // 100] * 1000, 2),
        }
    finally:
        server.kill()
        server.wait()


def main() -> None:
    """Prints what single calls and batches cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
        return
    for size, connections in ((1, 1), (1, 64), (500, 1), (500, 8)):
        with tempfile.TemporaryDirectory() as folder:
            result = measure(Path(folder), size, connections, options.seconds)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
