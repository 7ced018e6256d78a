"""What the HTTP ingress costs by itself: uvicorn, SQLite with fsync, pools that only count.

    python -m scale_tests.ingress_costs --seconds 5

tells for each kind of request (`loads`): requests and calls a second, and the CPU of the server's
process for one call. The load generator runs in a process of its own. `stages_us` has the parts
of that CPU that can be measured without a server, in this process, for batches of 500: decoding
the request, checking the calls, appending them to the log, encoding them for a pool. What is left
is HTTP and the event loop.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from scale_tests.conditions import conditions
from scale_tests.telling import printing_options, tell

if TYPE_CHECKING:
    from raysume.serve_apps.ingress import Catalogue

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


def catalogue() -> Catalogue:
    """One method, awaited by one pool."""
    from raysume.serve_apps.ingress import Catalogue, MethodEntry

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


class CountingEngine:
    """Takes every delivery and does nothing with it."""

    async def catalogue(self, known: int) -> Any:
        """See `Engine`."""
        if known == 1:
            await asyncio.Event().wait()
        return catalogue()

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


def stages(folder: Path, *, size: int = 500, rounds: int = 60) -> dict[str, float]:
    """Microseconds of CPU of this process for a call, by stage: medians over so many batches."""
    from raysume.actors.kernel.deliveries import DeliveredCall
    from raysume.serve_apps.ingress.envelopes import decode_array
    from raysume.serve_apps.ingress.ranges import split
    from raysume.serve_apps.ingress.reception import Reception
    from raysume.serve_apps.ingress.tokens import Principal
    from raysume.serve_apps.ingress.validation import MethodChecks
    from raysume.storage.call_ports import Batch
    from raysume.storage.processes import owner_of_this_process
    from raysume.storage.sqlite.calls import SqliteCallLog

    checks, principal = MethodChecks(catalogue()), Principal(kind="operator")
    spent: dict[str, list[int]] = {}

    def ended(stage: str, began: int) -> int:
        now = time.process_time_ns()
        spent.setdefault(stage, []).append(now - began)
        return time.process_time_ns()

    with contextlib.closing(SqliteCallLog(folder / "calls.db")) as log:
        partition = log.open_partition(owner=owner_of_this_process("costs")).id
        for number in range(rounds):
            body = json.dumps([call(number * size + n) for n in range(size)]).encode()
            at = time.process_time_ns()
            items = decode_array(body)
            at = ended("decode", at)
            reception = Reception(checks, principal)
            reception.take(items)
            calls = reception.finish()
            at = ended("check", at)
            segment = log.append(partition, [Batch(calls=calls)]).segment
            at = ended("append", at)
            assert segment is not None
            delivered = [
                DeliveredCall(offset, segment.pos, one)
                for offset, one in enumerate(segment.calls, segment.first)
            ]
            for part in split(
                partition=partition,
                start=segment.first,
                end=segment.end,
                catalogue=1,
                calls=delivered,
                after=segment.after,
            ):
                part.encode()
            ended("encode", at)
    return {name: round(statistics.median(ns) / size / 1000, 2) for name, ns in spent.items()}


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of a run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    printing_options(parser)
    return parser.parse_args(arguments)


def main() -> None:
    """Prints what single calls and batches cost."""
    options = parsed()
    if options.serve is not None:
        serve(options.serve)
        return
    made_in = conditions("sqlite")
    loads: list[dict[str, Any]] = []
    for size, connections in ((1, 1), (1, 64), (500, 1), (500, 8)):
        with tempfile.TemporaryDirectory() as folder:
            loads.append(measure(Path(folder), size, connections, options.seconds))
    with tempfile.TemporaryDirectory() as folder:
        found = stages(Path(folder))
    table = [
        *("  ".join(f"{name} {value}" for name, value in one.items()) for one in loads),
        *(f"{name:<24} {value:>14}" for name, value in found.items()),
    ]
    tell({"loads": loads, "stages_us": found}, made_in, options, table=table)


if __name__ == "__main__":
    main()
