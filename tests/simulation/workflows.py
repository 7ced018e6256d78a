"""The workflows that the simulation runs, and the calls that they wait for or make."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from datetime import timedelta
from typing import Any

from raysume import (
    Retry,
    StepFailed,
    WaitTimeout,
    all_of,
    any_of,
    group,
    push_call,
    sleep,
    step,
    subflow,
    wait,
    workflow,
)
from raysume.methods import PushedMethod

PROMPT = timedelta(seconds=5)
"""Shorter than what the simulation delays calls by: only the order of acceptance counts."""

LONG = timedelta(days=10)
"""Longer than a simulation is busy: rings only when nothing else will ever happen."""

FREED = timedelta(hours=1)


class Pause:
    """Something ordinary to await: whoever drives the turn goes on with it later."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield


@push_call("simulation.opened")
def opened(key: str, count: int) -> None:
    """A parcel was opened that `count` things are to be put into."""


@push_call("simulation.added")
def added(key: str, n: int) -> None:
    """Thing number `n` was put into the parcel."""


@push_call("simulation.sealed")
def sealed(key: str) -> None:
    """The parcel may be closed."""


@push_call("simulation.closed")
def closed(key: str, got: list[int]) -> None:
    """The parcel was closed, with these things in it."""


@push_call("simulation.asked")
def asked(key: str, failures: int) -> None:
    """Somebody asked for an approval, for which `failures` attempts to open a ticket will fail."""


@push_call("simulation.answered")
def answered(key: str, answer: str) -> str:
    """Somebody answered."""
    return answer if key else ""


@push_call("simulation.signed")
def signed(key: str, who: str) -> None:
    """Somebody signed."""


@push_call("simulation.told")
def told(key: str, outcome: str) -> None:
    """The outcome of an approval was told."""


@push_call("simulation.joined")
def joined(key: str, count: int) -> None:
    """Somebody joined a room."""


@push_call("simulation.said")
def said(key: str, n: int, aloud: bool) -> None:
    """Something was said in the room."""


@push_call("simulation.left")
def left(key: str, aloud: list[int]) -> None:
    """Somebody left the room."""


@push_call("simulation.ordered")
def ordered(key: str, n: int) -> None:
    """Somebody ordered something; the first order of a key says how many more there will be."""


@push_call("simulation.offered")
def offered(n: int) -> None:
    """Something was offered to whoever has been waiting longest."""


@push_call("simulation.won")
def won(n: int) -> None:
    """Somebody got the offer."""


async def nothing(_failures: int) -> None:
    """What happens when a step runs, unless a simulation watches."""


opening: Callable[[int], Awaitable[None]] = nothing
"""Called with the number of attempts that are to fail, as a step runs; may raise."""


async def open_ticket(failures: int, key: str) -> str:
    """A step; the simulation fails its first attempts."""
    await opening(failures)
    return f"ticket {key} after {failures}"


@workflow(name="simulation.collect")
async def collect() -> dict[str, Any]:
    """Takes things in order, then the seal, which often comes before the last thing."""
    first = await wait(opened).match_any()
    key = first.input.key
    got: list[int] = []
    while len(got) < first.input.count:
        item = await wait(added).match(key=key)
        got.append(item.input.n)
    await wait(sealed).match(key=key)
    closed(key=key, got=got)
    return {"key": key, "got": got}


@subflow
async def signatures(key: str) -> list[str]:
    """Two of three signatures, in the order in which they came."""
    order: list[str] = []
    names = ("ann", "bob", "cid")
    waits = [
        wait(signed, name)
        .match(key=key, who=name)
        .after_match(lambda call: order.append(call.input.who))
        for name in names
    ]
    await group(*waits).until(lambda progress: progress.completed >= 2)
    return sorted(order)


@workflow(name="simulation.approve")
async def approve() -> dict[str, Any]:
    """A step with retries, an answer or a timeout, then signatures beside another step."""
    first = await wait(asked).match_any()
    key, failures = first.input.key, first.input.failures
    limit = PROMPT if key.startswith("prompt") else LONG
    try:
        ticket = await step(
            open_ticket,
            failures,
            key,
            retry=Retry(max_attempts=3, initial=timedelta(seconds=1), jitter=False),
        )
    except StepFailed as error:
        told(key=key, outcome="no ticket")
        return {"key": key, "outcome": f"no ticket after {error.details['attempts']}"}
    try:
        answer = await wait(answered).match(key=key).timeout(limit)
    except WaitTimeout:
        told(key=key, outcome="timeout")
        return {"key": key, "outcome": "timeout", "ticket": ticket}
    names, again = await all_of(signatures(key), step(open_ticket, 0, f"{key} again"))
    told(key=key, outcome=answer.output)
    return {"key": key, "outcome": answer.output, "names": names, "tickets": [ticket, again]}


@workflow(name="simulation.listen")
async def listen() -> dict[str, Any]:
    """Turns with ordinary awaits, and two waits at once, so that calls queue meanwhile."""
    first = await wait(joined).match_any()
    key = first.input.key
    aloud: list[int] = []
    quietly: list[int] = []
    while len(aloud) + len(quietly) < first.input.count:
        await Pause()
        one = await any_of(
            wait(said).match_if(lambda call: call.input.key == key and call.input.aloud),
            wait(said).match_if(lambda call: call.input.key == key and not call.input.aloud),
            sleep(LONG),
        )
        await Pause()
        assert one.result is not None
        (aloud, quietly)[one.index].append(one.result.input.n)
        await Pause()
    left(key=key, aloud=aloud)
    await Pause()
    return {"key": key, "aloud": aloud, "quietly": quietly}


def fulfil_id(key: str) -> str:
    """The instance's id, from what it is started with."""
    return f"fulfil-{key}"


@workflow(name="simulation.fulfil", id=fulfil_id)
async def fulfil(key: str, many: int) -> dict[str, Any]:
    """Started explicitly; a loop over more things than a mailbox remembers, then a freed wait."""
    got: list[int] = []
    for _ in range(many):
        item = await wait(added).match_if(lambda call: call.input.key == key)
        got.append(item.input.n)
    try:
        try:
            await wait(answered).match(key=key).timeout(FREED)
        finally:
            seal = await wait(sealed).match(key=key)
    except WaitTimeout:
        # The wait in the finally has no timeout: it has ended, which pyright does not see.
        seal_key = seal.input.key  # pyright: ignore[reportUnboundVariable, reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
        return {"key": key, "got": got, "answer": None, "seal": seal_key}
    return {"key": key, "got": got, "answer": True, "seal": seal.input.key}


@workflow(name="simulation.follow")
async def follow() -> dict[str, Any]:
    """Started by the calls that other workflows publish."""
    first = await wait(closed).match_any()
    note = await step(open_ticket, len(first.input.got) % 2, first.input.key, retry=Retry(2))
    return {"key": first.input.key, "got": first.input.got, "note": note}


@workflow(name="simulation.barter")
async def barter() -> dict[str, Any]:
    """Started by an order for which nobody waits; takes the next ones of its key, then any offer."""
    first = await wait(ordered).match_any()
    key = first.input.key
    got: list[int] = []
    while len(got) < first.input.n:
        item = await wait(ordered).match(key=key)
        got.append(item.input.n)
    offer = await wait(offered).match_any().exclusive()
    won(n=offer.input.n)
    return {"key": key, "got": got}


WORKFLOWS = (collect, approve, listen, fulfil, follow)

AWAITED: dict[str, tuple[PushedMethod[Any, Any], ...]] = {
    collect.name: (opened, added, sealed),
    approve.name: (asked, answered, signed),
    listen.name: (joined, said),
    fulfil.name: (added, answered, sealed),
    follow.name: (closed,),
    barter.name: (ordered, offered),
}
"""What each workflow subscribes to."""
