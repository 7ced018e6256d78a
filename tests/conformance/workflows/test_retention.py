"""What is old is cleaned up: finished instances and calls; what still runs, or failed, stays."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from tests.conformance.workflows.conftest import Deploy
from tests.conformance.workflows.methods import m1, m2, m3

import raysume
from raysume import any_of, instance, sleep, wait, workflow
from raysume.errors import ConfigurationError, NotFound
from raysume.storage.ports import InstanceQuery
from raysume.testing import TestShell

DAY = timedelta(days=1)


@workflow
async def keep() -> str:
    """Ends with the second call, or fails with it."""
    first = await wait(m1).match_any()
    instance().tag(number=str(first.input.id))
    second = await any_of(wait(m2).match(id=first.input.id), wait(m3).match(id=first.input.id))
    if second.result.input.text == "bad":
        raise ValueError("bad")
    return second.result.input.text


def own_name(name: str, days: int) -> str:  # noqa: ARG001
    """The id of an instance of `named`."""
    return name


@workflow(id=own_name)
async def named(name: str, days: int) -> str:
    """Sleeps for so many days; its id is its name."""
    await sleep(days * DAY)
    return name


@workflow
async def parent(name: str) -> str:
    """Awaits a child; when a call comes first, it fails at its saved point, with the child open."""
    first = await any_of(wait(m1).match_any(), named(name, 1))
    raise ValueError(first.index)


@pytest.fixture(autouse=True)
def configured() -> Iterator[None]:
    """Nothing that a test configures outlives it."""
    yield
    raysume.configure(history_retention=None, call_retention=None, mailbox_window=None)


@pytest.mark.row(64)
@pytest.mark.logs_errors("ValueError: bad")
async def test_what_ended_or_came_before_its_retention_is_gone_with_all_dependants(
    deploy: Deploy,
) -> None:
    async with deploy(keep) as shell:
        calls = [await shell.push(m1, id=number) for number in range(4)]
        completed, cancelled, failed, waiting = shell.instances(keep)
        await shell.push(m2, id=0, text="done")
        await shell.cancel(cancelled)
        await shell.push(m3, id=2, text="bad")
        assert [run.status for run in shell.instances(keep)] == [
            "completed",
            "cancelled",
            "failed",
            "waiting",
        ]
        before = shell.counts()
        await shell.advance(timedelta(days=31))
        # Instances: rows, tags, views and ids; those that have not ended are as they were.
        assert [run.id for run in shell.instances(keep)] == [failed.id, waiting.id]
        [pool] = shell._pools.values()  # pyright: ignore[reportPrivateUsage]
        tagged = [
            row.id
            for number in range(4)
            for row in pool.store.list_instances(InstanceQuery(tags={"number": str(number)}))
        ]
        assert tagged == [failed.id, waiting.id]
        for gone in (completed, cancelled):
            assert not pool.kernel.knows(gone.id)
            assert pool.store.find_instance(gone.id) == []
            with pytest.raises(NotFound, match="history_retention"):
                _ = gone.status
        # Calls, those that unfinished instances received included: instances hold what they need.
        for call in calls:
            with pytest.raises(NotFound, match="call_retention"):
                shell.explain(call)
        # Wait templates: nothing durable exists for them here. A shape is an entry of the index
        # in memory, made by the waits that have it, and gone with the last of them (row 65).
        assert shell.counts() == before
        await shell.push(m2, id=3, text="late")
        assert waiting.result == "late"
        await shell.retry(failed)
        assert (failed.status, failed.error) == ("failed", "ValueError: bad")


async def test_nothing_goes_before_its_retention_is_over(deploy: Deploy) -> None:
    async with deploy(keep) as shell:
        first = await shell.push(m1, id=0)
        await shell.push(m2, id=0, text="done")
        await shell.advance(timedelta(days=30))
        [run] = shell.instances(keep)
        assert (run.result, shell.explain(first).met) == ("done", True)
        await shell.advance(timedelta(microseconds=1))
        assert shell.instances(keep) == []


async def test_retention_counts_from_the_end_of_an_instance(deploy: Deploy) -> None:
    async with deploy(named) as shell:
        run = await shell.start(named, "long", 60)
        await shell.advance(60 * DAY)
        assert run.result == "long"
        await shell.advance(30 * DAY)
        assert run.result == "long"
        await shell.advance(1 * DAY)
        assert shell.instances(named) == []


async def test_the_id_of_a_removed_instance_starts_a_new_one(deploy: Deploy) -> None:
    async with deploy(named) as shell:
        await shell.start(named, "n", 1)
        await shell.advance(2 * DAY)
        again = await shell.start(named, "n", 1)
        assert again.status == "completed"
        await shell.advance(31 * DAY)
        await shell.start(named, "n", 1)
        [new] = shell.instances(named)
        assert (new.id, new.status) == ("n", "waiting")
        await shell.advance(1 * DAY)
        assert new.result == "n"


async def test_a_call_that_started_a_removed_instance_is_in_no_other_mailbox(
    deploy: Deploy,
) -> None:
    @workflow
    async def greedy() -> int:
        first = await wait(m1).match_any()
        if first.input.text == "ends":
            return 0
        await wait(m3).match_any()
        found = await wait(m1).match_any().since(shell.now - timedelta(days=300))
        return found.input.id

    raysume.configure(call_retention="365d")
    async with deploy(greedy) as shell:
        await shell.push(m1, id=1, text="ends")
        await shell.push(m1, id=2)
        await shell.advance(31 * DAY)
        [run] = shell.instances(greedy)
        await shell.push(m2)  # unless live, the pool has restarted after the removal
        await shell.push(m3)
        assert run.status == "waiting"
        await shell.push(m1, id=3)
        assert run.result == 3


async def test_a_call_that_went_to_a_removed_instance_alone_goes_to_no_other(
    deploy: Deploy,
) -> None:
    @workflow
    async def alone(name: str) -> int:
        if name == "second":
            await wait(m3).match_any()
        early = shell.now - timedelta(days=300)
        return (await wait(m1).match_any().exclusive().since(early)).input.id

    raysume.configure(call_retention="365d")
    async with deploy(alone) as shell:
        first = await shell.start(alone, "first")
        second = await shell.start(alone, "second")
        await shell.push(m1, id=1)
        assert first.result == 1
        await shell.advance(31 * DAY)
        await shell.push(m2)  # unless live, the pool has restarted after the removal
        await shell.push(m3)
        assert second.status == "waiting"
        await shell.push(m1, id=2)
        assert second.result == 2


@pytest.mark.logs_errors("ValueError: 0")
async def test_a_parent_that_failed_does_not_start_its_removed_child_again(deploy: Deploy) -> None:
    async with deploy(parent, named) as shell:
        run = await shell.start(parent, "child")
        await shell.push(m1)
        [child] = shell.instances(named)
        assert (run.status, child.status) == ("failed", "waiting")
        await shell.advance(40 * DAY)
        assert shell.instances(named) == []
        await shell.push(m2)
        assert shell.instances(named) == []


@pytest.mark.parametrize("name", ["history_retention", "call_retention"])
def test_a_retention_below_the_mailbox_window_is_refused(name: str) -> None:
    raysume.configure(**{name: "2h"}, mailbox_window="3h")
    with pytest.raises(ConfigurationError, match=rf"{name}.*mailbox_window"):
        TestShell(keep)
    raysume.configure(mailbox_window="2h")
    TestShell(keep)
