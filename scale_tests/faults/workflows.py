"""The workflows that are under load while processes are killed: each exercises a promise.

What an instance gives back says all that happened to it, so that it can be compared with what
was sent. Steps leave a line in a ledger outside of the engine each time they run.
"""

from __future__ import annotations

import os
import uuid
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel

from raysume import (
    Retry,
    WaitTimeout,
    external_call,
    push_call,
    step,
    step_key,
    wait,
    workflow,
)

LEDGER_VARIABLE = "RAYSUME_FAULTS_LEDGER"
"""Names the folder in which the lines of steps are: one file for each process."""

ANSWER_WITHIN_S = 20.0
"""How long `question` waits."""

_AGAIN = Retry(max_attempts=20, initial=timedelta(seconds=0.2), maximum=timedelta(seconds=2))


class Item(BaseModel):
    """What every call carries."""

    key: str
    n: int = 0


greeted = external_call("faults.greeted", input=Item, output=bool)
opened = external_call("faults.opened", input=Item, output=bool)
ticked = external_call("faults.ticked", input=Item, output=bool)
asked = external_call("faults.asked", input=Item, output=bool)
answered = external_call("faults.answered", input=Item, output=bool)
ordered = external_call("faults.ordered", input=Item, output=bool)
paid = external_call("faults.paid", input=Item, output=bool)
granted = external_call("faults.granted", input=Item, output=bool)


@push_call("faults.noted")
def note(key: str, first: str) -> bool:
    """The workflow tells what its first step gave."""
    return bool(key and first)


def leave_line(key: str, what: str) -> str:
    """A line is on disk that this attempt of the step ran; gives its own name."""
    attempt = uuid.uuid4().hex
    path = Path(os.environ[LEDGER_VARIABLE]) / f"{os.getpid()}.txt"
    with path.open("a", encoding="ascii") as file:
        file.write(f"{key} {what} {step_key()} {attempt}\n")
        file.flush()
        os.fsync(file.fileno())
    return attempt


@workflow
async def greeting() -> list[str]:
    """Ends with the call that started it."""
    first = await wait(greeted).match_any()
    return [first.input.key]


@workflow
async def counting() -> list[int]:
    """Takes as many calls of its key as its start says; gives their numbers as they came."""
    first = await wait(opened).match_any()
    key: str = first.input.key
    wanted: int = first.input.n
    numbers: list[int] = []
    while len(numbers) < wanted:
        call = await wait(ticked).match(key=key)
        numbers.append(call.input.n)
    return numbers


@workflow
async def question() -> str:
    """Waits for an answer for a while."""
    first = await wait(asked).match_any()
    key: str = first.input.key
    try:
        await wait(answered).match(key=key).timeout(timedelta(seconds=ANSWER_WITHIN_S))
    except WaitTimeout:
        return "late"
    return "answered"


@workflow
async def order() -> list[str]:
    """Two steps with a call out and a call in between; the second one runs on some node."""
    first = await wait(ordered).match_any()
    key: str = first.input.key
    here = await step(leave_line, key, "here", retry=_AGAIN)
    note(key, here)
    payment = await wait(paid).match(key=key)
    there = await step(leave_line, key, "there", ray={"num_cpus": 0.9})
    return [here, there, str(payment.input.n)]


@workflow
async def claim(group: str) -> int:
    """One of several that wait for one call each; gives the number of the one it got."""
    call = await wait(granted).match(key=group).exclusive()
    return call.input.n
