"""Workflows of a running engine that start by themselves, through the death of their pools."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from tests.integration.cluster.running import Engine, until

from raysume import Client
from raysume.actors.kernel.moments import microseconds
from raysume.ids import instance_id_of

SOURCE = """
from datetime import timedelta

from raysume import instance, sleep, workflow


@workflow(every="*/2 * * * * *")
async def ticking() -> str:
    return instance().id


@workflow
async def beating() -> str:
    await sleep(timedelta(seconds=2))
    return instance().id
"""
PERIOD_US = 2_000_000
LATE_US_MAX = 2_000_000
"""How late the first start may be that the test looks at."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine of the test's own: its workflows never rest."""
    source = tmp_path / "recurring.py"
    source.write_text(SOURCE, encoding="utf-8")
    made = Engine(source, tmp_path / "data").start()
    try:
        yield made
        assert made.stop() == 0
    finally:
        if made.process is not None and made.process.poll() is None:
            made.kill_everything()


def starts(client: Client, workflow: str) -> list[tuple[int, str]]:
    """When each instance started, in microseconds, and its id; oldest first."""
    found: list[tuple[int, str]] = []
    for run in client.instances(workflow):
        assert run.facts.started_at is not None
        found.append((microseconds(datetime.fromisoformat(run.facts.started_at)), run.id))
    return sorted(found)


def id_of(workflow: str, due_us: int) -> str:
    """The id of the instance whose start is due then."""
    return instance_id_of(workflow, f"schedule:{due_us}")


def due_us_of(workflow: str, started_us: int, id: str) -> int:
    """What the start was due, at the latest when it happened."""
    for due_us in range(started_us, started_us - LATE_US_MAX, -1):
        if id_of(workflow, due_us) == id:
            return due_us
    raise AssertionError(f"{id} was due more than {LATE_US_MAX} us before {started_us}")


@pytest.mark.parametrize("workflow", ["ticking", "beating"])
def test_starts_follow_each_other_through_the_death_of_their_pool(
    engine: Engine, workflow: str
) -> None:
    def grown(client: Client, size: int) -> list[tuple[int, str]]:
        def look() -> list[tuple[int, str]] | None:
            found = starts(client, workflow)
            return found if len(found) >= size else None

        return until(look)

    with engine.client() as client:
        before = grown(client, 2)
        for deaths in (1, 2):
            engine.kill(f"{workflow}@")
            found = grown(client, len(before) + 2 * deaths)
        due_us = due_us_of(workflow, *found[0])
        assert workflow == "beating" or due_us % PERIOD_US == 0
        for started_us, id in found:
            assert started_us >= due_us
            assert id == id_of(workflow, due_us), "neither a start is missing nor one too many"
            due_us += ((started_us - due_us) // PERIOD_US + 1) * PERIOD_US
        for _, id in found[:-1]:
            assert client.instance(id, workflow).result(timeout=30) == id
