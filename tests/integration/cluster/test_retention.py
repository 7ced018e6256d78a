"""An engine with short retentions deletes what is old by itself, and goes on with the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.cluster.running import Engine, begin, until

from raysume.errors import NotFound

SOURCE = """
from pydantic import BaseModel

from raysume import external_call, wait, workflow


class Item(BaseModel):
    key: str
    n: int = 0


opened = external_call("brief.opened", input=Item, output=bool)
closed = external_call("brief.closed", input=Item, output=bool)


@workflow
async def pair() -> int:
    first = await wait(opened).match_any()
    second = await wait(closed).match(key=first.input.key)
    return first.input.n + second.input.n
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine of the test's own that keeps everything for a second."""
    source = tmp_path / "brief.py"
    source.write_text(SOURCE, encoding="utf-8")
    made = Engine(
        source,
        tmp_path / "data",
        RAYSUME_MAILBOX_WINDOW="1s",
        RAYSUME_HISTORY_RETENTION="1s",
        RAYSUME_CALL_RETENTION="1s",
        RAYSUME_CHECKPOINT_INTERVAL="200ms",
    )
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill_everything()


def test_finished_instances_and_calls_go_by_themselves_and_waiting_instances_stay(
    engine: Engine,
) -> None:
    engine.start()
    with engine.client() as client:
        ended = begin(client, "pair", "brief.opened", "ends", n=1)
        waiting = begin(client, "pair", "brief.opened", "waits", n=2)
        call = client.push("brief.closed", input={"key": "ends", "n": 1}, output=True)
        until(lambda: engine.stored_calls() == 0 or None)
        until(lambda: [run.id for run in client.instances()] == [waiting.id] or None)
        with pytest.raises(NotFound, match="removed"):
            ended.status()
        with pytest.raises(NotFound, match="call_retention"):
            client.explain(call)
    assert engine.stop() == 0
    engine.start()
    with engine.client() as client:
        assert [run.id for run in client.instances()] == [waiting.id]
        again = client.instance(waiting.id, "pair")
        client.push("brief.closed", input={"key": "waits", "n": 5}, output=True)
        assert again.result(timeout=30) == 7
    assert engine.stop() == 0
