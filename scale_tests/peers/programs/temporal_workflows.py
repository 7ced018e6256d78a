"""The workflows of Temporal, in a file of their own, as its sandbox wants them."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    # Passed through, so that all instances in all sandboxes tell the same one.
    from scale_tests.peers.programs.temporal_progress import progress
    from scale_tests.peers.progress import LONG, Stage


def note(stage: Stage, group: str, number: int) -> None:
    """The instance is at this stage, by the worker's clock and not the workflow's."""
    with workflow.unsafe.sandbox_unrestricted():
        progress.note(stage, group, number)


@workflow.defn
class OneEvent:
    """Waits for one event."""

    def __init__(self) -> None:
        self._event: int | None = None

    @workflow.run
    async def run(self, group: str, number: int) -> int:
        """Ends with the event."""
        note("begun", group, number)
        await workflow.wait_condition(lambda: self._event is not None)
        note("reached", group, number)
        return self._event or 0

    @workflow.signal
    def happen(self, event: int) -> None:
        """The event."""
        self._event = event


@workflow.defn
class ManyEvents:
    """Waits for many events, one after the other."""

    def __init__(self) -> None:
        self._events: list[int] = []

    @workflow.run
    async def run(self, count: int) -> int:
        """Ends with the last event."""
        note("begun", LONG, 0)
        total = 0
        for number in range(count):
            await workflow.wait_condition(lambda: bool(self._events))
            total += self._events.pop(0)
            note("reached", LONG, number)
        return total

    @workflow.signal
    def happen(self, event: int) -> None:
        """One of the events."""
        self._events.append(event)
