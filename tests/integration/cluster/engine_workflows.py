"""The workflows that the tests of a whole engine run: small ones, and the business samples."""

from __future__ import annotations

import asyncio
import os
import threading
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel

from raysume import (
    Container,
    Depends,
    Retry,
    StepFailed,
    WaitTimeout,
    any_of,
    external_call,
    instance,
    push_call,
    query,
    sleep,
    step,
    step_key,
    subflow,
    wait,
    workflow,
)
from samples import (
    Onboarding,
    RequestApproval,
    board_approval,
    book_trip,
    invite_all,
    order_review,
    project_approval,
)


class Item(BaseModel):
    """What the calls of these tests carry."""

    key: str
    n: int = 0


opened = external_call("engine.opened", input=Item, output=bool)
closed = external_call("engine.closed", input=Item, output=bool)
begun = external_call("engine.begun", input=Item, output=bool)
ticked = external_call("engine.ticked", input=Item, output=bool)
tally_begun = external_call("engine.tally_begun", input=Item, output=bool)
tallied = external_call("engine.tallied", input=Item, output=bool)
work_asked = external_call("engine.work_asked", input=Item, output=bool)
far_work_asked = external_call("engine.far_work_asked", input=Item, output=bool)
talk_begun = external_call("engine.talk_begun", input=Item, output=bool)
said = external_call("engine.said", input=Item, output=bool)
nap_asked = external_call("engine.nap_asked", input=Item, output=bool)
print_asked = external_call("engine.print_asked", input=Item, output=bool)
trouble = external_call("engine.trouble", input=Item, output=bool)

SAMPLES = (
    *(Onboarding, RequestApproval, board_approval, book_trip),
    *(invite_all, order_review, project_approval),
)
"""Deployed with the others, as everything that a module can see."""

FATAL = 666
"""What a call says that wants a step to end its process."""

SIGNALS = Path(os.environ.get("ENGINE_SIGNALS", "."))
"""A folder of named pipes and ledgers, by which tests and steps tell each other things."""


@workflow
async def pair() -> int:
    """A call starts it, a second one of the same key completes it."""
    first = await wait(opened, name="first").match_any()
    total = first.input.n
    instance().tag(key=first.input.key)
    second = await wait(closed, name="second").match(key=first.input.key)
    return total + second.input.n


@workflow
async def counting() -> list[int]:
    """Receives what is pushed for its key, in order, until a negative number."""
    first = await wait(begun).match_any()
    key = first.input.key
    received: list[int] = []
    while True:
        call = await wait(ticked).match(key=key)
        if call.input.n < 0:
            return received
        received.append(call.input.n)


@workflow
async def tallying() -> list[int]:
    """As `counting`, with a step for each call; its pool gets several members."""
    first = await wait(tally_begun).match_any()
    key = first.input.key
    received: list[int] = []
    while True:
        call = await wait(tallied).match(key=key)
        if call.input.n < 0:
            return received
        received.append(await step(tally, call.input.n))


def tally(n: int) -> int:
    """Notes which step it is: more than once only where a process ended or a shard moved."""
    note("tally", step_key())
    return n


def note(name: str, line: str) -> None:
    """The line is at the end of the ledger, durably."""
    with (SIGNALS / f"{name}.txt").open("a", encoding="utf-8") as ledger:
        ledger.write(f"{line}\n")
        ledger.flush()
        os.fsync(ledger.fileno())


def await_signal(name: str) -> str:
    """The line that the test wrote into the pipe; waits for it."""
    with (SIGNALS / name).open(encoding="utf-8") as pipe:
        return pipe.readline().strip()


def give_signal(name: str) -> None:
    """The test that reads the pipe goes on."""
    (SIGNALS / name).write_text("reached", encoding="utf-8")


def laborious(key: str) -> str:
    """Notes its key, tells that it runs, and ends when the test says so."""
    note(f"{key}-attempts", step_key())
    note(f"{key}-pids", str(os.getpid()))
    give_signal(f"{key}-runs")
    return await_signal(f"{key}-goes-on")


def endless(key: str) -> None:
    """Runs until it is interrupted, and tells of it."""
    nothing = threading.Event()
    try:  # before it tells that it runs: it may be interrupted at once
        give_signal(f"{key}-runs")
        while not nothing.wait(0.01):
            pass
    finally:
        give_signal(f"{key}-interrupted")


def failing_twice(key: str) -> int:
    """Raises at its first two attempts."""
    note(f"{key}-attempts", step_key())
    attempts = len((SIGNALS / f"{key}-attempts.txt").read_text().splitlines())
    if attempts < 3:
        raise OSError(f"attempt {attempts} failed")
    return attempts


def fatal(key: str) -> None:
    """Ends the process in which it runs."""
    note(f"{key}-pids", str(os.getpid()))
    os._exit(1)


@workflow
async def labour() -> str:
    """A step that the test holds in its hands."""
    call = await wait(work_asked).match_any()
    key = call.input.key
    if call.input.n == FATAL:
        await step(fatal, key, retry=Retry(max_attempts=5, initial=timedelta(milliseconds=10)))
    if call.input.n:
        retry = Retry(max_attempts=5, initial=timedelta(milliseconds=10))
        return f"{key}: {await step(failing_twice, key, retry=retry)} attempts"
    return f"{key}: {await step(laborious, key)}"


def order_paper(key: str) -> str:
    """Notes that paper was ordered."""
    note(f"{key}-paper", "ordered")
    return key


def send_back(key: str) -> None:
    """Notes that the paper went back."""
    note(f"{key}-paper", "sent back")


@workflow
async def printing() -> str:
    """Fails while the test says that the printer is on fire."""
    call = await wait(print_asked).match_any()
    key = call.input.key
    if call.input.n:
        await step(order_paper, key, compensate=send_back)
    await wait(closed).match(key=key)
    if (SIGNALS / f"{key}-fire").exists():
        raise RuntimeError("the printer is on fire")
    return f"{key}: printed"


@workflow
async def labour_elsewhere() -> str:
    """A step that is a Ray task, with the options that the call asks for."""
    call = await wait(far_work_asked).match_any()
    key, options = call.input.key, {"num_cpus": 0}
    if call.input.n:
        options = {"no_such_option": call.input.n}
    try:
        if call.input.n == FATAL:
            await step(fatal, key, ray={"num_cpus": 0, "max_retries": 1})
        return f"{key}: {await step(laborious, key, ray=options)}"
    except StepFailed as error:
        return f"{key}: {error.__cause__}"


@workflow
async def race_elsewhere(key: str, hears: bool, limit_s: float | None = None) -> str:
    """A step in a Ray task against a call; the step never ends by itself."""
    limit = None if limit_s is None else timedelta(seconds=limit_s)
    race = any_of(
        step(endless if hears else laborious, key, ray={"num_cpus": 0}, timeout=limit, name="step"),
        wait(closed, name="call").match(key=key),
    )
    return (await race).name or "?"


def length(data: bytes) -> int:
    """How long it is."""
    return len(data)


@workflow
async def make_elsewhere(size: int) -> int:
    """A large result comes from one Ray task, and goes into another one."""
    made = await step(bytes, size, ray={"num_cpus": 0})
    await wait(closed).match(key=f"made {size}")
    return await step(length, made, ray={"num_cpus": 0})


@workflow
async def talk() -> list[int]:
    """Its turns await ordinary things: they run as tasks, and calls meanwhile queue."""
    first = await wait(talk_begun).match_any()
    key = first.input.key
    heard: list[int] = []
    while len(heard) < first.input.n:
        call = await wait(said).match(key=key)
        await asyncio.sleep(0)
        if call.input.n == 0:
            note(f"{key}-turns", str(len(heard)))
            await asyncio.to_thread(give_signal, f"{key}-turn-runs")
            await asyncio.to_thread(await_signal, f"{key}-turn-goes-on")
        heard.append(call.input.n)
    return heard


@workflow
async def nap() -> str:
    """Wakes by itself."""
    call = await wait(nap_asked).match_any()
    await sleep(timedelta(milliseconds=call.input.n))
    try:
        await wait(closed).match(key=f"never {call.input.key}").timeout(timedelta(milliseconds=10))
    except WaitTimeout:
        give_signal(f"{call.input.key}-woke")
        return f"{call.input.key} woke"
    return "met"


def sum_id(label: str) -> str:
    """The instance's id, from what it is started with."""
    return f"sum-{label}"


@workflow(name="engine.sum", id=sum_id)
async def add(label: str, numbers: list[int]) -> int:
    """Started by clients."""
    call = await wait(closed).match(key=label)
    return sum(numbers) + call.input.n


@workflow
async def troubled() -> str:
    """Fails when it is told to."""
    call = await wait(trouble).match_any()
    if call.input.n:
        raise RuntimeError(f"told to fail by {call.input.key}")
    return "no trouble"


@push_call("engine.shouted", external=True)
def shout(text: str) -> str:
    """Published from a workflow, heard by another."""
    return text.upper()


shout_asked = external_call("engine.shout_asked", input=Item, output=bool)


@workflow
async def shouting() -> str:
    """Calls a decorated function in its turn."""
    call = await wait(shout_asked).match_any()
    return shout(call.input.key)


@workflow
async def hearing() -> str:
    """Is started by calls that another workflow makes."""
    call = await wait(shout).match_any()
    return f"heard {call.output}"


class Printer:
    """Something that is made for every process that needs it."""

    def __init__(self) -> None:
        self.pid = os.getpid()

    def printed(self, text: str) -> str:
        """The text as it is printed."""
        return f"*{text}*" if self.pid == os.getpid() else "made by another process"


class Desk(Container):
    """A workflow as a class: what it noted is its state."""

    key: str = ""
    noted: list[str] = []  # noqa: RUF012 - copied for every object, as pydantic does

    @workflow
    async def serve(self, printer: Printer = Depends(Printer)) -> list[str]:
        """Notes what is said until an empty text comes."""
        call = await wait(opened, name="asked").match(key="desk")
        self.key = f"desk-{call.input.n}"
        instance().tag(desk=self.key)
        while text := await self.heard():
            printed = await step(printer.printed, text, ray={"num_cpus": 0.01})
            self.noted.append(printer.printed(printed))
        return self.noted

    @subflow
    async def heard(self) -> str:
        """What is said next."""
        call = await wait(said).match(key=self.key)
        return "" if call.input.n == 0 else str(call.input.n)

    async def on_completed(self) -> None:
        """The last note."""
        await asyncio.sleep(0)
        self.noted.append("closed")

    @query
    def count(self, *, doubled: bool = False) -> int:
        """How much is noted."""
        return len(self.noted) * (2 if doubled else 1)


@workflow
async def outer(key: str) -> str:
    """Awaits another workflow of the deployment."""
    total = await add(key, [1, 2])
    return f"{key} {total}"
