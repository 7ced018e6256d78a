"""`instance()` tells a workflow's code about its instance."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from raysume import instance, limits
from raysume.durable import turn_scope
from raysume.errors import UsageError
from raysume.instances import RunningInstance
from raysume.records import OutgoingCall


@dataclass
class Turn:
    instance: Any
    task: Any = None
    trace: str | None = None

    def has_passed(self, moment: datetime) -> bool:
        raise NotImplementedError(moment)

    def publish(self, call: OutgoingCall) -> None:
        raise NotImplementedError(call)


def running() -> RunningInstance:
    began = datetime(2024, 1, 1, tzinfo=UTC)
    return RunningInstance(
        id="i1", workflow="approval", version="abc123", started_at=began, now=began
    )


def test_the_instance_is_that_of_the_turn() -> None:
    current = running()
    with turn_scope(Turn(current)):
        assert instance() is current
        instance().tag(customer=7)
        instance().tag(customer=8, urgent=True)
        assert instance().log is instance().log
    assert current.tags == {"customer": 8, "urgent": True}


def test_tags_are_short_and_few() -> None:
    with turn_scope(Turn(running())):
        instance().tag(text="x" * limits.TAG_CHARS_MAX)
        with pytest.raises(UsageError, match=r"tag 'text' has 257 characters.*\[tag-too-long\]"):
            instance().tag(text="x" * 257)
        with pytest.raises(UsageError, match=r"\[too-many-tags\]"):
            instance().tag(**{f"t{number}": number for number in range(limits.TAGS_MAX)})


def test_outside_a_workflow_there_is_none() -> None:
    with pytest.raises(UsageError, match="only in the code of a workflow"):
        instance()


def test_the_instance_is_not_kept_across_a_wait() -> None:
    with pytest.raises(TypeError, match=r"instance\(\)\.id"):
        pickle.dumps(running())
