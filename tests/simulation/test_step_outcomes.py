"""What a pool that died left behind of its Ray steps goes when its successor has recovered."""

from __future__ import annotations

import threading
from pathlib import Path

from pydantic import BaseModel
from tests.simulation.hosting import Hosted

from raysume import external_call, ids, step, wait, workflow
from raysume.actors.step_outcomes import OUTCOMES, delete_left_outcomes


class Named(BaseModel):
    """The input of every method here."""

    key: str


asked = external_call("outcomes.asked", input=Named, output=None)
let_go = threading.Event()


def work(key: str) -> str:
    """A step that takes as long as the test wants."""
    let_go.wait(20)
    return key


@workflow(name="outcomes.work")
async def works() -> str:
    """Runs the step."""
    first = await wait(asked).match_any()
    return str(await step(work, first.input.key))


async def test_outcomes_that_no_step_awaits_are_deleted_and_no_others(tmp_path: Path) -> None:
    async with Hosted(tmp_path, works, asked) as hosted:
        segment = hosted.push(asked, key="a")
        await hosted.applied(segment)
        await hosted.host.flushed()
        one = hosted.only
        [awaited] = one.steps
        left = f"{works.name}/{one.id}/9.9/1"
        kept = {
            f"{works.name}/{one.id}/{awaited}/1",
            f"{works.name}/{ids.uuid7()}/{awaited}/1",
            f"another.workflow/{one.id}/9.9/1",
        }
        for id in (left, *kept):
            hosted.store.put_document(OUTCOMES, id, b"an outcome")
        assert await delete_left_outcomes(hosted.store, hosted.host.kernel) == 1
        assert {id for id, _ in hosted.store.documents(OUTCOMES)} == kept
        let_go.set()
        assert await hosted.result(one.id) == "a"
        assert await delete_left_outcomes(hosted.store, hosted.host.kernel) == 1
