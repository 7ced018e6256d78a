"""Workflows that wait without a key."""

from __future__ import annotations

from raysume import wait, workflow
from scale_tests.workloads import opened, paid


@workflow
async def watcher() -> None:
    """Waits for payments above an amount of its own: each instance has another predicate."""
    first = await wait(opened).match_any()
    least: int = first.input.account
    while True:
        await wait(paid).match_if(lambda call: call.input.amount > least)


@workflow
async def examiner() -> None:
    """The same, in words that do not show the bound: every predicate is evaluated for every call."""
    first = await wait(opened).match_any()
    least: int = first.input.account
    while True:
        await wait(paid).match_if(lambda call: call.input.amount - least > 0)


@workflow
async def auditor() -> None:
    """Waits for large payments: all instances have the same predicate."""
    await wait(opened).match_any()
    while True:
        await wait(paid).match_if(lambda call: call.input.amount > 1_000_000)
