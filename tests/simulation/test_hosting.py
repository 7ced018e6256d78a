"""A pool's host on real files: commits, readings, checkpoints, timers and what fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from tests.simulation.hosting import SEAL, GatedStore, Hosted

from raysume import StepFailed, WaitTimeout, external_call, limits, step, wait, workflow
from raysume.actors import explaining, handover
from raysume.actors.journaling import PoolJournal
from raysume.actors.kernel.commits import StepEnded
from raysume.actors.kernel.deliveries import StartRequest
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.records import StepDone
from raysume.actors.loading import method_of
from raysume.errors import StoreUnavailable, UsageError
from raysume.storage.ports import ShardRef


class Thing(BaseModel):
    """What the calls carry."""

    key: str = ""
    n: int = 0


begun = external_call("hosting.begun", input=Thing)
more = external_call("hosting.more", input=Thing)

ran: list[str] = []
doors: dict[str, asyncio.Event] = {}


def work(key: str) -> str:
    """A step that leaves a trace."""
    ran.append(key)
    return f"done {key}"


async def cancelled_inside() -> None:
    """A step that awaits something that somebody else cancelled."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


@workflow
async def working() -> str:
    first = await wait(begun).match_any()
    done = await step(work, first.input.key)
    await wait(more).match(key=first.input.key)
    return done


@workflow
async def counting() -> list[int]:
    first = await wait(begun).match_any()
    got: list[int] = []
    while len(got) < first.input.n:
        got.append((await wait(more).match(key=first.input.key)).input.n)
    return got


@workflow
async def hurried() -> str:
    first = await wait(begun).match_any()
    try:
        await wait(more).match(key=first.input.key).timeout(timedelta(milliseconds=1))
    except WaitTimeout:
        return "timeout"
    return "in time"


@workflow
async def behind_a_door() -> str:
    first = await wait(begun).match_any()
    await doors[first.input.key].wait()
    return first.input.key


@workflow
async def cancelling() -> str:
    first = await wait(begun).match_any()
    if first.input.key == "step":
        try:
            await step(cancelled_inside)
        except StepFailed as error:
            return type(error.__cause__).__name__
    task = asyncio.ensure_future(asyncio.Event().wait())
    task.cancel()
    await task
    return "never"


@workflow
async def explicit(n: int) -> int:
    return n + 1


@pytest.fixture(autouse=True)
def _clean() -> None:
    ran.clear()
    doors.clear()


Open = Callable[..., Hosted]


@pytest.fixture
def hosted(tmp_path: Path) -> Open:
    """Makes an incarnation on the test's files."""

    def make(of: Any) -> Hosted:
        return Hosted(tmp_path, of, begun, more)

    return make


@pytest.mark.parametrize("is_written", [False, True], ids=["not written", "written"])
async def test_a_failed_commit_ends_the_incarnation_and_releases_nothing(
    hosted: Open, is_written: bool
) -> None:
    async with hosted(working) as first:
        first.store.fails = lambda commit: bool(commit.journal)
        first.store.writes_before_failing = is_written
        first.push(begun, key="a")
        async with asyncio.timeout(20):
            await first.gave_up.wait()
        first.push(begun, key="b")
        first.host.report(StepEnded(instance="x", done=StepDone("1.1", 1, True, b"")))
        await first.until(lambda: len(first.host.kernel.instances) == 2)
        assert ran == []
        assert len(first.errors) == 1
        assert isinstance(first.errors[0], StoreUnavailable)
        instance = next(iter(first.host.kernel.instances))
    async with hosted(working) as second:
        await second.until(lambda: sorted(ran) == ["a", "b"])
        second.push(more, key="a")
        assert await second.result(instance) == "done a"
        assert sorted(ran) == ["a", "b"]


async def test_a_step_starts_after_its_commit_only(hosted: Open) -> None:
    async with hosted(working) as pool:
        pool.store.gate.clear()
        await pool.applied(pool.push(begun, key="a"))
        assert pool.only.steps
        assert ran == []
        pool.store.gate.set()
        await pool.until(lambda: ran == ["a"])


async def test_readings_show_what_is_durable(hosted: Open) -> None:
    async with hosted(counting) as pool:
        await pool.applied(pool.push(begun, key="a", n=2))
        await pool.host.flushed()
        instance = pool.only
        pool.store.gate.clear()
        pool.store.at_gate.clear()
        await pool.applied(pool.push(more, key="a", n=1))
        await pool.until(pool.store.at_gate.is_set)
        reading = asyncio.create_task(pool.readings.describe(instance.id))
        await pool.applied(pool.push(more, key="a", n=2))
        assert instance.status == "completed"
        for _ in range(50):
            await asyncio.sleep(0)
        assert not reading.done()
        pool.store.gate.set()
        description = await reading
        assert description is not None
        assert description["status"] == "completed"
        assert not pool.host.has_uncommitted


async def test_a_checkpoint_asked_while_commits_are_in_flight_is_durable_when_it_returns(
    hosted: Open,
) -> None:
    async with hosted(counting) as pool:
        pool.store.gate.clear()
        pool.store.at_gate.clear()
        await pool.applied(pool.push(begun, key="a", n=30))
        await pool.until(pool.store.at_gate.is_set)
        asked = [asyncio.create_task(pool.host.checkpoint()) for _ in range(3)]
        for n in range(30):
            pool.push(more, key="a", n=n)
        for _ in range(50):
            await asyncio.sleep(0)
        assert not any(task.done() for task in asked)
        pool.store.gate.set()
        await asyncio.gather(*asked)
        assert pool.store.find_instance(pool.only.id)
        [one] = pool.host.kernel.instances
        assert await pool.result(one) == list(range(30))
    async with hosted(counting) as again:
        assert await again.result(one) == list(range(30))


async def test_a_call_accepted_before_a_timer_is_applied_before_it(hosted: Open) -> None:
    for _ in range(5):
        async with hosted(hurried) as pool:
            known = set(pool.host.kernel.instances)
            segment = pool.accept((begun, {"key": "a"}), (more, {"key": "a"}))
            pool.tell(segment, upto=1)
            await pool.until(lambda: len(pool.host.kernel.instances) > len(known))  # noqa: B023
            [instance] = set(pool.host.kernel.instances) - known
            assert await pool.result(instance) == "in time"


async def test_a_timer_rings_without_any_call(hosted: Open) -> None:
    async with hosted(hurried) as pool:
        await pool.applied(pool.push(begun, key="a"))
        assert await pool.result(pool.only.id) == "timeout"


async def test_batches_wait_for_the_disk_and_the_backlog_says_so(hosted: Open) -> None:
    async with hosted(counting) as pool:
        pool.store.gate.clear()
        ahead: list[int] = []
        backlog = 0
        for n in range(40):
            backlog = pool.tell(pool.accept((begun, {"key": str(n), "n": 1})))
            for _ in range(5):
                await asyncio.sleep(0)
            ahead.append(len(pool.host._uncommitted))  # pyright: ignore[reportPrivateUsage]
        assert max(ahead) == limits.COMMITS_AHEAD_MAX
        assert backlog >= 40 - limits.COMMITS_AHEAD_MAX - 1
        pool.store.gate.set()
        await pool.until(lambda: len(pool.host.kernel.instances) == 40)
        await pool.host.flushed()
        assert pool.tell(pool.accept((more, {"key": "x"}))) == 1


async def test_a_held_pool_stays_where_it_said_it_stands_however_busy_it_was(
    hosted: Open,
) -> None:
    async with hosted(counting) as pool:
        pool.store.gate.clear()
        for n in range(40):  # more than may be applied ahead of the commits
            pool.tell(pool.accept((begun, {"key": str(n), "n": 1})))
            for _ in range(5):
                await asyncio.sleep(0)
        boundary = handover.hold(pool.host)
        stood = dict(pool.host.kernel.watermarks)
        assert boundary.offsets == stood
        pool.store.gate.set()
        await pool.host.flushed()
        for _ in range(50):
            await asyncio.sleep(0)
        assert pool.host.kernel.watermarks == stood
        handover.take_over(pool.host, "counting@1/0", boundary)
        await pool.until(lambda: len(pool.host.kernel.instances) == 40)


async def test_an_instance_that_awaits_something_ordinary_holds_nobody_up(hosted: Open) -> None:
    doors["shut"], doors["open"] = asyncio.Event(), asyncio.Event()
    doors["open"].set()
    async with hosted(behind_a_door) as pool:
        await pool.applied(pool.push(begun, key="shut"))
        shut = pool.only
        await pool.applied(pool.push(begun, key="open"))
        [other] = set(pool.host.kernel.instances) - {shut.id}
        assert await pool.result(other) == "open"
        assert shut.busy
        doors["shut"].set()
        assert await pool.result(shut.id) == "shut"


async def test_a_turn_that_is_stopped_runs_again(hosted: Open) -> None:
    doors["a"] = asyncio.Event()
    async with hosted(behind_a_door) as pool:
        await pool.applied(pool.push(begun, key="a"))
        instance = pool.only.id
    doors["a"].set()
    async with hosted(behind_a_door) as again:
        assert await again.result(instance) == "a"


@pytest.mark.parametrize(
    ("key", "expected"), [("turn", "CancelledError"), ("step", "CancelledError")]
)
async def test_something_cancelled_inside_is_an_error_like_others(
    hosted: Open, key: str, expected: str
) -> None:
    async with hosted(cancelling) as pool:
        await pool.applied(pool.push(begun, key=key))
        assert await pool.result(pool.only.id) == expected
        assert pool.errors == []


async def test_a_log_that_is_away_for_a_moment_delays_only(hosted: Open) -> None:
    async with hosted(counting) as pool:
        pool.log.failures = 2
        pool.accept((begun, {"key": "a", "n": 1}), (more, {"key": "a", "n": 5}))
        pool.push(more, key="b")
        await pool.until(lambda: len(pool.host.kernel.instances) == 1)
        assert await pool.result(pool.only.id) == [5]
        assert pool.log.failures == 0
        assert pool.errors == []


async def test_stopping_leaves_everything_in_instance_rows(hosted: Open, tmp_path: Path) -> None:
    async with hosted(counting) as pool:
        for n in range(25):
            pool.push(begun, key=str(n), n=1)
        segment = pool.push(more, key="3", n=3)
        await pool.applied(segment)
    store = GatedStore(tmp_path / "state.db")
    refs = [ShardRef(workflow="counting", version="1", number=n) for n in range(limits.SHARDS)]
    journal = PoolJournal(store, store.acquire(refs, owner="1:1:test"), SEAL)
    kernel = Kernel(counting, "1", methods=method_of)
    assert journal.recover(kernel) == 25
    assert journal.dirty == 0, "nothing is in the journal only"
    results = [one.result for one in kernel.instances.values() if one.result is not None]
    assert [json.loads(result) for result in results] == [[3]]
    store.close()


async def test_an_explicit_start_is_answered_when_it_is_durable(hosted: Open) -> None:
    async with hosted(explicit) as pool:
        request = StartRequest(workflow="explicit", id="x", input=b'{"n": 1}', at_us=1)
        pool.store.gate.clear()
        asked = asyncio.create_task(pool.host.start_instance(request))
        await pool.until(lambda: "x" in pool.host.kernel.instances)
        assert not asked.done()
        pool.store.gate.set()
        assert (await asked).created
        assert await pool.result("x") == 2
        await pool.host.checkpoint()
        assert "x" not in pool.host.kernel.instances
        again = await pool.host.start_instance(request)
        assert (again.created, again.status) == (False, "completed")


async def test_arguments_of_a_start_are_checked_before_anything_exists(hosted: Open) -> None:
    async with hosted(explicit) as pool:
        bad = StartRequest(workflow="explicit", id="x", input=b'{"n": "many"}', at_us=1)
        with pytest.raises(UsageError, match="invalid n"):
            await pool.host.start_instance(bad)
        assert pool.host.kernel.instances == {}


async def test_finished_instances_leave_memory_with_their_checkpoint(hosted: Open) -> None:
    async with hosted(counting) as pool:
        for n in range(3):
            pool.push(begun, key=str(n), n=0)
        await pool.until(lambda: len(pool.host.kernel.instances) == 3)
        await pool.host.checkpoint()
        assert pool.host.kernel.instances == {}
        pool.push(begun, key="x", n=0)
        await pool.until(lambda: len(pool.host.kernel.instances) == 1)
    async with hosted(counting) as again:
        again.push(begun, key="y", n=1)
        await again.until(lambda: any(i.waits for i in again.host.kernel.instances.values()))
        await again.host.checkpoint()
        assert [one.status for one in again.host.kernel.instances.values()] == ["waiting"]


async def test_a_pool_gives_a_row_beyond_the_largest_page(
    hosted: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows_beyond_a_page = limits.POOL_ROWS_MAX - limits.PAGE_ROWS_MAX
    page = 3
    monkeypatch.setattr(limits, "PAGE_ROWS_MAX", page)
    monkeypatch.setattr(limits, "POOL_ROWS_MAX", page + rows_beyond_a_page)
    async with hosted(counting) as pool:
        for n in range(page + 2):
            pool.push(begun, key=str(n), n=1)
        await pool.until(lambda: len(pool.host.kernel.instances) == page + 2)
        query = {"limit": page + 1}
        assert len(await pool.readings.instances(query)) == page + 1
        assert len(await explaining.waits(pool.host, query)) == page + 1
        assert len(await pool.readings.instances({"limit": page + 9})) == page + 1
