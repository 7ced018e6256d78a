"""Ingress replicas in processes of their own, over one call log in SQLite; and a disk that fills up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from raysume.actors.kernel.commits import RangeOrder
from raysume.actors.kernel.deliveries import Delivery
from raysume.actors.kernel.intake import Intake
from raysume.storage.call_ports import CallLog

HEADERS = {"Authorization": "Bearer operator", "Content-Type": "application/json"}
LEASE_S = 1.5
"""Of these replicas: tests need not wait for the real one."""
SOON_S = 60.0
LOOK_S = 0.05
"""Between two looks at what another process does, which has no signal."""

_nothing = threading.Event()

_REPLICA = f"""
import sys
sys.path.insert(0, sys.argv[2])
from raysume import limits
limits.PARTITION_LEASE_S, limits.PARTITION_LOOK_S = {LEASE_S}, {LEASE_S / 3}
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


class Replica:
    """One ingress process and a client of it."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers=HEADERS, timeout=SOON_S, trust_env=False
        )

    def signal(self, number: signal.Signals) -> None:
        """The process gets the signal."""
        os.kill(self.process.pid, number)

    async def health(self) -> dict[str, Any]:
        """What it says of itself."""
        found: dict[str, Any] = (await self.client.get("/v1/health")).json()
        return found


def _started(database: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _REPLICA, str(database), str(Path(__file__).parents[3])]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@asynccontextmanager
async def replicas(database: Path, count: int) -> AsyncGenerator[list[Replica]]:
    """Processes that serve the ingress, and have started."""
    started = [_started(database) for _ in range(count)]
    found: list[Replica] = []
    try:
        for process in started:
            assert process.stdout is not None
            found.append(Replica(process, int(await asyncio.to_thread(process.stdout.readline))))
        yield found
    finally:
        for one in found:
            await one.client.aclose()
        for process in started:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


async def until(look: Callable[[], Any]) -> None:
    """What another process does has come so far that `look` finds it."""
    async with asyncio.timeout(SOON_S):
        while True:
            found = look()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.to_thread(_nothing.wait, LOOK_S)


def as_a_pool_sees_them(log: CallLog) -> list[str]:
    """The ids of all calls in the order in which a kernel applies them, from notices alone."""
    intake, applied = Intake(), list[str]()
    for place in log.partitions():
        intake.add(Delivery(place.id, 0, place.next_offset, 0, []))
    while (following := intake.following()) is not None:
        if isinstance(following, RangeOrder):
            partition, start, end = following.partition, following.start, following.end
            segments = list(log.read(partition, start=start, end=end))
            methods = {call.method for segment in segments for call in segment.calls}
            intake.add(Delivery.of(segments, methods, partition=partition, start=start, end=end))
            continue
        mark = intake.mark(following.partition)
        applied += [one.call.id for one in following.calls if one.offset >= mark]
        intake.applied(following)
    assert intake.waiting == 0
    return applied


class SmallDisk:
    """A file system of a few megabytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filling = folder / "filling"

    def fill(self) -> None:
        """Nothing more fits."""
        with self._filling.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            for size in (1 << 16, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"\1" * size)

    def free(self) -> None:
        """What filled it is gone."""
        self._filling.unlink()


@contextmanager
def small_disk(folder: Path, *, megabytes: int) -> Generator[SmallDisk]:
    """A small file system is mounted there; the test is skipped where that is not permitted."""
    folder.mkdir()
    options = f"size={megabytes}m"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "raysume-test", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("a file system may not be mounted here")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
