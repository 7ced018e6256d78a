"""The hooks of a Container: called once, in the turn in which its instance ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from pydantic import Field
from tests.conformance.workflows.methods import m1, m2, submit

from raysume import Container, Retry, instance, query, step, wait, workflow
from raysume.testing import Counts, TestShell

Deploy = Callable[..., TestShell]


class Ending(Container):
    """Notes how it ended, outside of its state."""

    value: int = 0

    @workflow
    async def run(self, text: str) -> int:
        """Ends as the call of m1 says."""
        call = await wait(m1).match(text=text)
        self.value = call.input.id
        instance().tag(lost="yes")
        if call.input.id == 13:
            raise ValueError("unlucky")
        if call.input.id == 14:
            lock = threading.Lock()
            await wait(m2).match_any()
            del lock
        return self.value

    async def on_error(self, error: Exception) -> None:
        """Told with what it knows."""
        await asyncio.sleep(0)
        instance().tag(ended="badly")
        _tell(f"error {type(error).__name__} at {self.value}")

    async def on_completed(self) -> None:
        """Told, and counted."""
        self.value += 1
        _tell(f"completed at {self.value}")


_ends: list[str] = []


def _tell(text: str) -> None:
    _ends.append(text)
    submit(len(_ends), text)


@pytest.mark.logs_errors("unlucky", "variable 'lock'")
async def test_hooks_are_called_once_as_an_instance_ends(deploy: Deploy) -> None:
    _ends.clear()
    async with deploy(Ending.run) as shell:
        runs = [await shell.start(Ending.run, text) for text in ("a", "b", "c")]
        for number, text in ((1, "a"), (13, "b"), (14, "c")):
            await shell.push(m1, text=text, id=number)
        await shell.advance(timedelta(days=1))
        completed, raised, unsaved = runs
        assert (completed.status, completed.result) == ("completed", 1)
        assert completed.container.value == 2
        assert (raised.status, raised.error) == ("failed", "ValueError: unlucky")
        assert raised.tags == {"ended": "badly"}
        assert raised.container.value == 0
        assert unsaved.status == "failed"
        assert unsaved.error is not None
        assert "'lock'" in unsaved.error
        assert _ends == ["completed at 2", "error ValueError at 13", "error UnsavableState at 14"]
        assert shell.counts() == Counts(calls=6, waits=3, completed=1)


@pytest.mark.logs_errors("ValueError: again", "KeyError: 'never'")
async def test_an_instance_that_is_retried_by_itself_has_not_failed_for_its_hook(
    deploy: Deploy,
) -> None:
    errors: list[str] = []

    class Retried(Container):
        undone: int = 0

        @workflow(retry=Retry(max_attempts=3, give_up_on=(KeyError,)))
        async def run(self) -> None:
            call = await wait(m1).match_any()
            await step(str, call.input.id, compensate=_forget)
            self.undone = call.input.id
            await wait(m2).match_any()
            raise KeyError("never") if call.input.id == 2 else ValueError("again")

        async def on_error(self, error: Exception) -> None:
            errors.append(type(error).__name__)

        @query
        def seen(self) -> int:
            return self.undone

    async with deploy(Retried.run) as shell:
        await shell.push(m1, id=1)
        await shell.push(m1, id=2)
        await shell.push(m2)
        assert errors == ["KeyError"]
        await shell.advance(timedelta(days=1))
        assert errors == ["KeyError", "ValueError"]
        runs = shell.instances(Retried.run)
        assert [run.status for run in runs] == ["failed", "failed"]
        assert [shell.query(run, Retried.seen) for run in runs] == [1, 2]


def _forget(_number: int) -> None:
    """Undoes nothing."""


async def test_a_result_is_what_was_returned_whatever_a_hook_does_to_it(deploy: Deploy) -> None:
    class Listing(Container):
        items: list[int] = Field(default_factory=list)

        @workflow
        async def run(self) -> list[int]:
            call = await wait(m1).match_any()
            self.items.append(call.input.id)
            return self.items

        async def on_completed(self) -> None:
            self.items.append(0)

    async with deploy(Listing.run) as shell:
        await shell.push(m1, id=5)
        [run] = shell.instances(Listing.run)
        assert (run.result, run.container.items) == ([5], [5, 0])


@pytest.mark.logs_errors("awaits a wait", "ValueError: broken", "in the hook")
async def test_what_a_hook_raises_is_logged_and_changes_nothing(deploy: Deploy) -> None:
    class Raising(Container):
        @workflow
        async def run(self, number: int) -> int:
            await wait(m1).match(id=number)
            if number == 2:
                raise ValueError("broken")
            return number

        async def on_error(self, _error: Exception) -> None:
            raise RuntimeError("in the hook")

        async def on_completed(self) -> None:
            await wait(m2).match_any()

    async with deploy(Raising.run) as shell:
        first, second = [await shell.start(Raising.run, number) for number in (1, 2)]
        await shell.push(m1, id=1)
        await shell.push(m1, id=2)
        assert (first.status, first.result) == ("completed", 1)
        assert "awaits a wait" in first.errors[0]
        assert (second.status, second.error) == ("failed", "ValueError: broken")
        assert "RuntimeError: in the hook" in second.errors[1]
