"""Workflows that several tests of the kernel run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.unit.kernel.bench import (
    Bench,
    Pause,
    begun,
    one,
    two,
)

from raysume import (
    Retry,
    StepFailed,
    WaitTimeout,
    any_of,
    step,
    wait,
    workflow,
)
from raysume.actors.kernel.records import StepDone
from raysume.compiler import dumps

SECOND = 1_000_000


def add(a: int, b: int) -> int:
    return a + b


@workflow
async def collector() -> list[int]:
    first = await wait(begun).match_any()
    got: list[int] = []
    while len(got) < first.input.n:
        item = await wait(one).match(key=first.input.key)
        got.append(item.input.n)
    return got


@workflow
async def slow() -> list[int]:
    first = await wait(begun).match_any()
    got: list[int] = []
    while len(got) < first.input.n:
        await Pause()
        item = await any_of(wait(one).match(key="a"), wait(two).match(key="a"))
        got.append(item.result.input.n)
    await Pause()
    return got


@workflow
async def stepping() -> Any:
    await wait(begun).match_any()
    try:
        return await step(add, 1, 2, retry=Retry(3, initial=timedelta(seconds=1), jitter=False))
    except StepFailed as error:
        return f"failed {error.details['attempts']}"


@workflow
async def racing() -> str:
    first = await wait(begun).match_any()
    try:
        await wait(one).match(key=first.input.key).timeout(timedelta(seconds=5))
    except WaitTimeout:
        return "timeout"
    return "in time"


def done(attempt: int = 1, value: Any = 3, *, step: str = "1.2", ok: bool = True) -> StepDone:
    return StepDone(step, attempt, ok, dumps(value if ok else RuntimeError("no")))


def looking(bench: Bench) -> Any:
    bench.push(begun, key="a", n=0)
    for n in (1, 2, 3):
        bench.push(one, key="b", n=n)
    commit = bench.push(two, key="a")
    [order] = commit.look_backs
    return order


@workflow
async def seeking() -> int:
    first = await wait(begun).match_any()
    await wait(two).match_any()
    return (await wait(one).match(key=first.input.key)).input.n
