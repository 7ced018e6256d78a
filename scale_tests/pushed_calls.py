"""Calls pushed through HTTP, matched, resumed and committed, while many instances wait.

    python -m scale_tests.pushed_calls --waits 10000 --seconds 10 --json

Everything runs on this machine, the load generator included; the store is SQLite with
synchronous=FULL unless --store says otherwise. Latency is what a client sees at low load:
from sending a call to holding the result of the instance that it resumed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil

from raysume.actors.untyped import actor_named, ray
from raysume.client import AsyncClient, AsyncRun
from raysume.errors import NotFound
from raysume.ids import instance_id_of
from raysume.serve_apps.development import Development

WORKLOADS = Path(__file__).with_name("workloads.py")
POOL = "account"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one run printed."""

    accepted_per_s: float
    committed_per_s: float
    lost: int
    resume_p50_ms: float
    resume_p99_ms: float
    cpu_us_per_call: float
    """CPU of the engine's processes; the load generator's is `client_cpu_us_per_call`."""
    client_cpu_us_per_call: float
    bytes_per_wait: float
    calls: int
    waits: int
    seconds: float
    batch: int
    connections: int


class Engine:
    """Looks at the running engine from outside its hot path."""

    def __init__(self, development: Development) -> None:
        self._pool = next(
            actor_named(name) for name in development.pool_pids() if name.startswith(POOL + "@")
        )

    def stats(self) -> dict[str, Any]:
        """The figures of the pool."""
        stats: dict[str, Any] = ray.get(self._pool.stats.remote())
        return stats

    def state(self, instance: str) -> dict[str, Any]:
        """The saved state of an instance."""
        state: dict[str, Any] = ray.get(self._pool.state.remote(instance))
        return state

    def wait_for_turns(self, turns: int, *, patience_s: float) -> dict[str, Any]:
        """The stats, once that many turns are durable or nothing has moved for `patience_s`."""
        seen, since = -1, time.monotonic()
        while True:
            stats = self.stats()
            if stats["turns"] >= turns or time.monotonic() - since > patience_s:
                return stats
            if stats["turns"] != seen:
                seen, since = stats["turns"], time.monotonic()
            time.sleep(0.02)


def cpu_of_engine() -> float:
    """Seconds of CPU used so far by every process that this one started, directly or not."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
            total += times.user + times.system
        except psutil.Error:
            continue
    return total


async def push_for(
    development: Development, options: argparse.Namespace, rng: random.Random
) -> tuple[list[int], float]:
    """Payments are pushed for the time asked; how many each account got, and the seconds taken."""
    counts = [0] * options.waits
    stop = time.monotonic() + options.seconds
    encoder = msgspec.json.Encoder()
    limits = httpx.Limits(max_connections=options.connections)
    path = "/v1/calls" if options.single else "/v1/calls:batch"

    async def worker(client: httpx.AsyncClient) -> None:
        while time.monotonic() < stop:
            accounts = [rng.randrange(options.waits) for _ in range(options.batch)]
            calls = [
                {"method": "scale.paid", "input": {"account": one, "amount": 3, "note": "x" * 40}}
                for one in accounts
            ]
            answer = await client.post(
                path, content=encoder.encode(calls[0] if options.single else calls)
            )
            if answer.status_code == 429:
                await asyncio.sleep(float(answer.headers.get("retry-after", "0.1")))
                continue
            if answer.status_code != 202:
                raise SystemExit(f"refused: {answer.status_code} {answer.text[:500]}")
            for one in accounts:
                counts[one] += 1

    begun = time.monotonic()
    async with httpx.AsyncClient(
        base_url=development.url,
        headers={
            "Authorization": f"Bearer {development.token}",
            "Content-Type": "application/json",
        },
        limits=limits,
        timeout=30,
        trust_env=False,
    ) as client:
        await asyncio.gather(*(worker(client) for _ in range(options.connections)))
    return counts, time.monotonic() - begun


async def measure_latency(development: Development, *, probes: int, rate: float) -> list[float]:
    """Milliseconds from sending a call to holding the result of the instance it resumed."""
    async with AsyncClient(development.url, development.token) as client:
        ids = [f"probe-{number}" for number in range(probes)]
        await client.push_many(
            {"method": "scale.prepared", "id": id, "input": {"probe": number}}
            for number, id in enumerate(ids)
        )
        runs = [await _instance(client, instance_id_of("probe", id)) for id in ids]

        async def one(number: int) -> float:
            await asyncio.sleep(number / rate)
            result = asyncio.create_task(runs[number].result(timeout=30))
            await asyncio.sleep(0.25)
            begun = time.perf_counter()
            await client.push("scale.asked", input={"probe": number})
            await result
            return (time.perf_counter() - begun) * 1_000

        return list(await asyncio.gather(*(one(number) for number in range(probes))))


async def _instance(client: AsyncClient, id: str) -> AsyncRun[Any]:
    """The probe, once it waits for its question."""
    while True:
        try:
            run = await client.instance(id, workflow="probe")
            if await run.status() == "waiting":
                return run
        except NotFound:
            pass
        await asyncio.sleep(0.02)


def open_accounts(development: Development, engine: Engine, waits: int) -> float:
    """`waits` instances wait for payments; bytes of the pool's memory for each."""
    before = engine.stats()["rss_bytes"]
    with development.client() as client:
        client.push_many(
            {"method": "scale.opened", "id": f"open-{number}", "input": {"account": number}}
            for number in range(waits)
        )
    stats = engine.wait_for_turns(waits, patience_s=30)
    if stats["instances"]["waiting"] != waits:
        raise SystemExit(f"{stats['instances']} instances instead of {waits} waiting")
    return float(stats["rss_bytes"] - before) / waits


def count_lost(engine: Engine, counts: list[int], turns: int, rng: random.Random) -> int:
    """Accepted calls without a durable turn; a sample of the accounts is compared one by one."""
    lost = sum(counts) - turns
    for account in rng.sample(range(len(counts)), min(200, len(counts))):
        state = engine.state(instance_id_of(POOL, f"open-{account}"))
        payments = int(state["frames"][0]["locals"]["payments"])
        if payments != counts[account]:
            lost = max(lost, 1)
            print(f"account {account}: {payments} of {counts[account]}", file=sys.stderr)
    return lost


def run(options: argparse.Namespace, data_dir: Path) -> Figures:
    """One measurement on a fresh data directory."""
    rng = random.Random(options.seed)
    with Development(WORKLOADS, data_dir=data_dir, port=0, dashboard=False) as development:
        engine = Engine(development)
        bytes_per_wait = open_accounts(development, engine, options.waits)
        latencies = asyncio.run(measure_latency(development, probes=options.probes, rate=50))
        before, cpu = engine.stats(), cpu_of_engine()
        own_cpu, begun = time.process_time(), time.monotonic()
        counts, pushed_s = asyncio.run(push_for(development, options, rng))
        accepted = sum(counts)
        after = engine.wait_for_turns(before["turns"] + accepted, patience_s=20)
        took = time.monotonic() - begun
        turns = after["turns"] - before["turns"]
        return Figures(
            accepted_per_s=round(accepted / pushed_s, 1),
            committed_per_s=round(turns / took, 1),
            lost=count_lost(engine, counts, turns, rng),
            resume_p50_ms=round(statistics.median(latencies), 2),
            resume_p99_ms=round(statistics.quantiles(latencies, n=100)[98], 2),
            cpu_us_per_call=round((cpu_of_engine() - cpu) / accepted * 1e6, 1),
            client_cpu_us_per_call=round((time.process_time() - own_cpu) / accepted * 1e6, 1),
            bytes_per_wait=round(bytes_per_wait, 1),
            calls=accepted,
            waits=options.waits,
            seconds=round(took, 2),
            batch=options.batch,
            connections=options.connections,
        )


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waits", type=int, default=10_000, help="instances that wait")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long calls are pushed")
    parser.add_argument("--batch", type=int, default=500, help="calls in one request")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--single", action="store_true", help="one call in each request")
    parser.add_argument("--probes", type=int, default=200, help="latencies measured")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    options = parser.parse_args(arguments)
    if options.single:
        options.batch = 1
    return options


def main() -> None:
    """Runs the measurement and prints its figures."""
    options = parsed()
    with tempfile.TemporaryDirectory(prefix="raysume-scale-") as folder:
        figures = run(options, Path(folder))
    conditions = {
        "python": platform.python_version(),
        "ray": ray.__version__,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "store": "sqlite, synchronous=FULL",
    }
    if options.json:
        print(json.dumps(asdict(figures) | {"conditions": conditions}))
        return
    for name, value in asdict(figures).items():
        print(f"{name:<24} {value:>14,}")


if __name__ == "__main__":
    main()
