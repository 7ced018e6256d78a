"""Bugs planted in the moving of shards: the cluster's checks find each of them, and name it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from tests.simulation.faults import Faults
from tests.simulation.seeds import be_silent
from tests.simulation.test_planted_in_clusters import Plant, failure_of, nothing, seed_that_finds

from raysume.actors import directory, moving
from raysume.actors.hosting import PoolHost
from raysume.actors.journaling import PoolJournal
from raysume.storage.memory import state

RESIZED = Faults(resize_s=1.0, late=0.2, slow=0.2, delivery=1, batch=1)
"""Pools are resized all the time, and much is under way."""

APART = Faults(resize_s=0.7, late=0.5, lost=0.1, delivery=1, batch=1)
"""Members of a pool often stand at different places, and wait for each other."""


REPLACED = Faults(resize_s=1.0, pause_s=1.0, slow=0.1, overtaking=0.3)
"""Directories and members fall silent, are replaced, and go on."""


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    be_silent()
    yield
    structlog.reset_defaults()


async def nowhere(*_arguments: Any) -> None:
    """What is awaited of a method that was planted away."""


def take_before_all_is_durable(patch: pytest.MonkeyPatch) -> None:
    """The target begins with what it finds, wherever the source stood when it gave the shards."""
    patch.setattr(PoolJournal, "note_places", nothing)
    patch.setattr(moving, "_check_place", nowhere)


def go_on_while_shards_come(patch: pytest.MonkeyPatch) -> None:
    """Members apply calls while shards pass between them."""
    patch.setattr(moving, "hold", moving.standing)
    patch.setattr(moving, "reach", nowhere)
    patch.setattr(moving, "_check_held", nothing)
    patch.setattr(moving, "_check_place", nowhere)


def forget_what_was_under_way(patch: pytest.MonkeyPatch) -> None:
    """Steps, calls and look-backs of a shard that has come do not go on."""
    patch.setattr(PoolHost, "resume", nothing)


def grow_without_a_regime(patch: pytest.MonkeyPatch) -> None:
    """Members of a pool decide alone about calls that only one may have."""
    patch.setattr(directory, "rule_for_members", nowhere)


def skip_the_fence_of_offices(patch: pytest.MonkeyPatch) -> None:
    """A store writes what a directory writes that has a successor."""
    patch.setattr(state, "check_holder", nothing)


PLANTS = (
    Plant(
        plant=take_before_all_is_durable,
        faults=APART,
        found_by="would apply call .* again|instances are stuck|missing|went from turn",
    ),
    Plant(
        plant=go_on_while_shards_come,
        faults=APART,
        found_by="would apply call .* again|instances are stuck|missing",
    ),
    Plant(plant=forget_what_was_under_way, faults=RESIZED, found_by="instances are stuck|missing"),
    Plant(
        plant=skip_the_fence_of_offices,
        faults=REPLACED,
        found_by="for a directory that had a successor",
    ),
    Plant(
        plant=grow_without_a_regime,
        faults=RESIZED,
        found_by="(results|published calls): missing|instances are stuck|waits left",
    ),
)


@pytest.mark.parametrize("planted", PLANTS, ids=lambda one: one.plant.__name__)
def test_a_check_names(planted: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = seed_that_finds(planted, monkeypatch)
    assert not failure_of(seed, planted.faults), "the same run fails without the bug"
