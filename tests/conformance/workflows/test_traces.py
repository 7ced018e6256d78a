"""A trace goes on from call to call, through turns, steps, timers and child workflows."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

from tests.conformance.workflows.conftest import Deploy

from raysume import WaitTimeout, push_call, step, wait, workflow
from raysume.tracing import step_context, traceparent

A = f"00-{'a' * 32}-{'1' * 16}-01"
B = f"00-{'b' * 32}-{'2' * 16}-01"


@push_call("tracing.asked")
def asked(key: str) -> str:
    return key


@push_call("tracing.worked")
def worked(key: str) -> str:
    return key


@push_call("tracing.answered")
def answered(key: str) -> str:
    return key


def work(key: str) -> str | None:
    worked(key)
    return traceparent()


@workflow
async def below(key: str) -> str:
    await wait(answered).match(key=key)
    return str(traceparent())


@workflow
async def worker() -> list[str | None]:
    call = await wait(asked).match_any()
    heard = [call.headers.get("traceparent"), traceparent()]
    heard.append(await step(work, call.input.key))
    heard.append(traceparent())
    try:
        await wait(answered).match(key="nobody").from_now().timeout(timedelta(hours=1))
    except WaitTimeout:
        heard.append(traceparent())
    return heard


@workflow
async def follower() -> str | None:
    await wait(worked).match_any()
    return traceparent()


@workflow
async def parent() -> str:
    call = await wait(asked).match_any()
    return await below(call.input.key)


@contextmanager
def in_trace(context: str | None) -> Generator[None]:
    """As code that runs in a step of that trace."""
    token = step_context.set(context)
    try:
        yield
    finally:
        step_context.reset(token)


async def test_a_trace_goes_through_turns_steps_timers_and_what_they_publish(
    deploy: Deploy,
) -> None:
    async with deploy(worker, follower) as shell:
        with in_trace(A):
            await shell.push(asked, key="a")
        await shell.advance(timedelta(hours=2))
        [run], [next_run] = shell.instances(worker), shell.instances(follower)
        assert run.result == [A] * 5
        assert next_run.result == A


async def test_what_no_trace_asks_for_is_in_none(deploy: Deploy) -> None:
    async with deploy(worker, follower) as shell:
        await shell.push(asked, key="a")
        await shell.advance(timedelta(hours=2))
        [run], [next_run] = shell.instances(worker), shell.instances(follower)
        assert run.result == [None] * 5
        assert next_run.result is None


async def test_a_child_begins_in_the_trace_of_its_parent_and_goes_on_in_that_of_its_call(
    deploy: Deploy,
) -> None:
    async with deploy(parent, below) as shell:
        with in_trace(A):
            await shell.push(asked, key="a")
            await shell.push(asked, key="b")
        with in_trace(B):
            await shell.push(answered, key="b")
        await shell.push(answered, key="a")
        assert sorted(str(run.result) for run in shell.instances(parent)) == [A, B]
