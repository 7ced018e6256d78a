"""Steps, and turns behind an ordinary `await`, that end the process of their pool or merely ran as it ended."""

from __future__ import annotations

import asyncio
import json
import os
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel
from tests.simulation.ending import child, everything_applied, is_corrected, retry_of
from tests.simulation.hosting import SOON_S, Hosted

from raysume import Retry, StepFailed, external_call, ids, limits, step, wait, workflow
from raysume.actors.kernel.status import Status
from raysume.actors.trials import Note, step_work

ROOT = Path(__file__).parents[2]
DEATHS = limits.QUARANTINE_DEATHS + limits.QUARANTINE_TURN_DEATHS


class Job(BaseModel):
    """The input of every method here."""

    key: str
    how: str


asked = external_call("trials.asked", input=Job, output=None)
told = external_call("trials.told", input=Job, output=None)


class Held:
    """A step that a test in this process holds in its hands."""

    def __init__(self) -> None:
        self.begins, self.goes_on = asyncio.Event(), asyncio.Event()


steps: defaultdict[str, Held] = defaultdict(Held)
"""By key."""


def end(how: str) -> str:
    """The process ends, unless the environment says that the code was corrected."""
    if how != "harmless" and not is_corrected():
        os._exit(7)
    return how


async def end_later(how: str) -> str:
    """As `end`, in the event loop; what does no harm takes longer."""
    later = asyncio.Event()
    asyncio.get_running_loop().call_later(0.3 if how == "harmless" else 0, later.set)
    await later.wait()
    return end(how)


async def held(key: str) -> str:
    """It runs until the test lets it go."""
    steps[key].begins.set()
    await steps[key].goes_on.wait()
    return key


FUNCTIONS: dict[str, Any] = {"thread": end, "loop": end_later}


@workflow(name="trials.labour", retry=Retry(max_attempts=3, initial=timedelta(0)))
async def labour() -> str:
    """Ends the process in a step, in a thread or in the event loop."""
    job = (await wait(asked).match_any()).input
    where, _, how = job.how.partition(" ")
    retry = Retry(max_attempts=3, initial=timedelta(0))
    if where == "caught":
        try:
            await step(end_later, how, name="caught")
        except StepFailed as error:
            return f"{type(error.__cause__).__name__}: {error.__cause__}"
    return str(await step(FUNCTIONS[where], how, retry=retry))


@workflow(name="trials.think")
async def think() -> str:
    """Ends the process behind an ordinary await, in the turn that begins it or in a later one."""
    first = await wait(asked).match_any()
    await asyncio.sleep(0)
    end(first.input.how)
    second = await wait(told).match(key=first.input.key)
    await asyncio.sleep(0)
    return end(second.input.how)


@workflow(name="trials.hold")
async def hold() -> str:
    """A step that the test holds in its hands."""
    return await step(held, (await wait(asked).match_any()).input.key)


@workflow(name="trials.ponder")
async def ponder() -> str:
    """A turn that the test holds in its hands."""
    return await held((await wait(asked).match_any()).input.key)


WORKFLOWS: dict[str, Any] = {one.name: one for one in (labour, think)}


async def host(folder: Path, name: str) -> None:
    """What a child process does: it applies everything, and prints how instances stand."""
    pytest.MonkeyPatch().setattr(limits, "QUARANTINE_CALM_S", 0.2)
    async with Hosted(folder, WORKFLOWS[name], asked, told) as hosted:
        instances = await everything_applied(hosted)
        await hosted.until(lambda: all(is_at_rest(one.status) for one in instances))
        await hosted.host.flushed()
        stand = {one.id: [one.status.value, told_by(one.result, one.error)] for one in instances}
        print(json.dumps(stand))


def is_at_rest(status: Status) -> bool:
    """Whether nothing is under way for the instance."""
    return status in (Status.COMPLETED, Status.FAILED, Status.WAITING)


def told_by(result: bytes | None, error: Any) -> Any:
    """What an instance tells at its end."""
    return error.message if error is not None else None if result is None else json.loads(result)


def deaths(folder: Path, name: str) -> tuple[int, dict[str, Any]]:
    """How many processes ended before one did not, and how instances stand in that one."""
    for died in range(6 * DEATHS):
        ended = child(__name__, folder, name)
        if ended.returncode != 7:
            assert ended.returncode == 0, ended.stderr
            return died, json.loads(ended.stdout.splitlines()[-1])
    raise AssertionError("the pool never serves")


def accept(folder: Path, flow: Any, *calls: tuple[Any, str, str]) -> list[str]:
    """The calls are in the log; the ids of instances that they would start."""
    hosted = Hosted(folder, flow, asked, told)
    segment = hosted.accept(*((m, {"key": key, "how": how}) for m, key, how in calls))
    hosted.store.close()
    hosted.log.close()
    return [ids.instance_id_of(flow.name, call.id) for call in segment.calls]


def test_a_step_that_ends_the_process_fails_its_instance_and_the_others_go_on(
    tmp_path: Path,
) -> None:
    good, bad, slow = accept(
        tmp_path,
        labour,
        (asked, "good", "thread harmless"),
        (asked, "bad", "thread kills"),
        (asked, "slow", "loop harmless"),
    )
    died, stand = deaths(tmp_path, labour.name)
    assert died == DEATHS, "no Retry, of the step or its workflow, tries it again"
    assert stand[good] == stand[slow] == ["completed", "harmless"]
    status, error = stand[bad]
    assert status == "failed"
    assert f"step 'end' of instance '{bad}' ended the process of its pool {DEATHS} times" in error
    assert "instance retry" in error
    corrected = child(__name__, tmp_path, labour.name, CORRECTED="1")
    stand = json.loads(corrected.stdout.splitlines()[-1])
    assert stand[bad][0] == "completed"


def test_a_workflow_may_catch_what_its_asynchronous_step_did(tmp_path: Path) -> None:
    [bad] = accept(tmp_path, labour, (asked, "bad", "caught kills"))
    died, stand = deaths(tmp_path, labour.name)
    assert died == DEATHS
    assert stand[bad][0] == "completed"
    assert stand[bad][1].startswith(f"ProcessEnded: step 'caught' of instance '{bad}'")


def test_turns_that_end_the_process_behind_an_await_fail_and_the_others_go_on(
    tmp_path: Path,
) -> None:
    good, worse, bad = accept(
        tmp_path,
        think,
        (asked, "good", "harmless"),
        (asked, "worse", "kills"),
        (asked, "bad", "harmless"),
        (told, "bad", "kills"),
        (told, "good", "harmless"),
    )[:3]
    died, stand = deaths(tmp_path, think.name)
    assert died <= DEATHS + limits.QUARANTINE_TURN_DEATHS + limits.QUARANTINE_DEATHS
    assert {id: one[0] for id, one in stand.items()} == {
        good: "completed",
        bad: "failed",
        worse: "failed",
    }
    assert f"this turn of instance '{bad}' ended the process of its pool" in stand[bad][1]
    corrected = child(__name__, tmp_path, think.name, CORRECTED="1")
    stand = json.loads(corrected.stdout.splitlines()[-1])
    assert {id: one[0] for id, one in stand.items()} == {
        good: "completed",
        bad: "completed",
        worse: "waiting",
    }


@asynccontextmanager
async def dying(folder: Path, flow: Any = hold) -> AsyncGenerator[Hosted]:
    """An incarnation that ends as if its process had been killed."""
    steps.clear()
    hosted = Hosted(folder, flow, asked, told)
    await hosted.__aenter__()
    try:
        yield hosted
    finally:
        await hosted.die()
        hosted.store.close()
        hosted.log.close()


def noted(hosted: Hosted) -> Note:
    """What is durably noted of trials."""
    [(_, body)] = hosted.store.documents("trial")
    return msgspec.msgpack.decode(body, type=Note)


async def test_a_step_that_only_ran_while_its_process_was_killed_is_tried_but_not_condemned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "QUARANTINE_CALM_S", 0.01)
    monkeypatch.setattr(limits, "QUARANTINE_TRIAL_S", 0.01)
    [long] = accept(tmp_path, hold, (asked, "long", ""))
    for died in range(DEATHS + 3):
        async with dying(tmp_path) as hosted:
            await hosted.host.notice_log()
            async with asyncio.timeout(SOON_S):
                await steps["long"].begins.wait()
            if died >= limits.QUARANTINE_DEATHS:
                name = step_work(long, hosted.host.kernel.instances[long].record().steps[0].id, 1)
                assert noted(hosted).begun == (name,)
            other = hosted.push(asked, key="other", how="")
            async with asyncio.timeout(SOON_S):
                await steps["other"].begins.wait()
            assert died == 0 or noted(hosted).is_open, "it goes on beside what was tried"
            steps["other"].goes_on.set()
            assert await hosted.result(ids.instance_id_of(hold.name, other.calls[0].id)) == "other"
    async with dying(tmp_path) as hosted:
        steps["long"].goes_on.set()
        assert await hosted.result(long) == "long"
    async with dying(tmp_path) as hosted:
        assert noted(hosted) == Note(), "whatever ends is under no suspicion"


async def test_a_process_that_ends_in_order_brings_nobody_under_suspicion(tmp_path: Path) -> None:
    accept(tmp_path, hold, (asked, "long", ""))
    for ended in range(DEATHS):
        steps.clear()
        async with Hosted(tmp_path, hold, asked, told) as hosted:
            await hosted.host.notice_log()
            async with asyncio.timeout(SOON_S):
                await steps["long"].begins.wait()
            assert ended == 0 or set(noted(hosted).deaths.values()) == {0}


@pytest.mark.parametrize("flow", [hold, ponder])
async def test_what_is_condemned_runs_again_only_when_a_retry_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flow: Any
) -> None:
    monkeypatch.setattr(limits, "QUARANTINE_CALM_S", 0.01)
    [bad] = accept(tmp_path, flow, (asked, "bad", ""))
    for _ in range(DEATHS):
        async with dying(tmp_path, flow) as hosted:
            await hosted.host.notice_log()
            async with asyncio.timeout(SOON_S):
                await steps["bad"].begins.wait()
    async with dying(tmp_path, flow) as hosted:
        assert await hosted.result(bad) == ("StepFailed" if flow is hold else "ProcessEnded")
        assert not steps["bad"].begins.is_set()
        await hosted.host.answers.ask(partial(retry_of, bad))
        steps["bad"].goes_on.set()
        await hosted.until(lambda: hosted.only.status is Status.COMPLETED)
        assert await hosted.result(bad) == "bad"
