"""Crash points that only real files, or a hand-over, pass: what is there after them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
import structlog
from pydantic import BaseModel
from tests.simulation.hosting import SOON_S, Hosted

from raysume import external_call, wait, workflow
from raysume.actors import handover
from raysume.actors.handover import Boundary
from raysume.actors.kernel.records import START_OF_LOG
from raysume.actors.ray_steps import Runner
from raysume.actors.specs import EngineSpec
from raysume.actors.step_outcomes import OUTCOMES
from raysume.crash_points import POINTS, watch
from raysume.storage.opening import open_store


class Ended(BaseException):
    """The process ends here."""


class Named(BaseModel):
    """The input of every method here."""

    key: str


first = external_call("crashes.first", input=Named, output=None)
second = external_call("crashes.second", input=Named, output=None)


@workflow(name="crashes.both")
async def both() -> str:
    """Two waits, one after the other."""
    call = await wait(first).match_any()
    await wait(second).match(key=call.input.key)
    return str(call.input.key)


class EndingAt:
    """Ends the process as it passes the point for the first time."""

    def __init__(self, name: str) -> None:
        assert name in POINTS
        self.name = name
        self.is_reached = False

    def __call__(self, name: str) -> None:
        if name == self.name and not self.is_reached:
            self.is_reached = True
            raise Ended


@pytest.mark.parametrize("point", ["sql_during_commit", "sql_during_checkpoint"])
async def test_a_transaction_that_a_crash_cut_off_never_happened(
    point: str, tmp_path: Path
) -> None:
    ending = EndingAt(point)
    async with Hosted(tmp_path, both, first, second) as hosted:
        await hosted.applied(hosted.push(first, key="a"))
        await hosted.host.flushed()
        with watch(ending):
            hosted.push(second, key="a")
            checkpoint = asyncio.get_running_loop().create_task(hosted.host.checkpoint())
            async with asyncio.timeout(SOON_S):
                await hosted.gave_up.wait()
        checkpoint.cancel()
        assert [type(error) for error in hosted.errors] == [Ended]
    assert ending.is_reached
    async with Hosted(tmp_path, both, first, second) as hosted:
        await hosted.until(lambda: hosted.only.status.value == "completed")
        assert await hosted.result(hosted.only.id) == "a"


async def test_an_append_that_a_crash_cut_off_stored_nothing(tmp_path: Path) -> None:
    hosted = Hosted(tmp_path, both, first, second)
    with watch(EndingAt("sql_during_append")), pytest.raises(Ended):
        hosted.accept((first, {"key": "a"}))
    assert hosted.log.barrier() == {hosted.partition: 0}
    assert hosted.accept((first, {"key": "a"})).first == 0
    hosted.store.close()
    hosted.log.close()


async def test_a_version_that_ended_or_began_does_so_also_after_a_crash(tmp_path: Path) -> None:
    async with Hosted(tmp_path, both, first, second) as hosted:
        boundary = Boundary(offsets={hosted.partition: 0}, newest=START_OF_LOG)
        with watch(EndingAt("after_time_begun")), pytest.raises(Ended):
            handover.take_over(hosted.host, "next", boundary)
        begun = handover.recorded(hosted.store, "next")
        assert begun is not None
        assert begun.begins == boundary
        with watch(EndingAt("after_retirement_kept")), pytest.raises(Ended):
            await handover.retire(hosted.host, "former", after=None)
        ended = handover.recorded(hosted.store, "former")
        assert ended is not None
        again = await handover.retire(hosted.host, "former", after=boundary)
        assert again == ended.ends


async def test_an_outcome_whose_runner_died_after_recording_it_is_there(tmp_path: Path) -> None:
    spec = EngineSpec(data_dir=str(tmp_path), checkpoint_interval_s=60.0)
    runner = Runner(msgspec.msgpack.encode(spec), [])
    structlog.reset_defaults()  # the runner's process would log to stderr
    with watch(EndingAt("after_outcome_recorded")), pytest.raises(Ended):
        await runner._record("a/b/1.1/1", b"an outcome")  # pyright: ignore[reportPrivateUsage]
    runner._store.close()  # pyright: ignore[reportPrivateUsage]
    store = open_store(spec.database_url, spec.folder)
    assert store.documents(OUTCOMES) == [("a/b/1.1/1", b"an outcome")]
    store.close()
