"""The usual turn, taken without ceremony, does what the general way does, whatever comes next."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.kernel.bench import Bench, Pause, begun, one, two

from raysume import (
    UsageError,
    WaitTimeout,
    any_of,
    instance,
    push_call,
    sleep,
    step,
    subflow,
    wait,
    workflow,
)
from raysume.actors.kernel import plain_turns
from raysume.actors.kernel.commits import Commit, RetryAsked, TimersDue
from raysume.actors.kernel.records import Outgoing
from raysume.actors.kernel.status import Status
from raysume.actors.kernel.trees import FLAT_HEADER
from raysume.records import OutgoingCall
from raysume.waits import Wait

SHORT = timedelta(seconds=5)


@push_call("plain.said")
def say(key: str, n: int) -> int:
    """Something is published."""
    return len(key) + n


def work(n: int) -> int:
    """A step."""
    return n


@subflow
async def below(key: str) -> int:
    """Waits below the workflow."""
    return (await wait(two).match(key=key)).input.n


@subflow
async def straight(key: str) -> str:
    """Waits for nothing."""
    return key * 2


def bare() -> Wait[Any]:
    """A wait without a match, which is refused where it is awaited."""
    return wait(two)


def judged(key: str) -> Wait[Any]:
    """A wait with a function."""
    return wait(two).match_if(lambda call: call.input.key == key and call.input.n < 2)


class Odd(Exception):
    """Raised by the workflow."""


_raised: list[bool] = []


def trouble() -> None:
    """Raises the first time."""
    if not _raised:
        _raised.append(True)
        raise Odd


@workflow
async def various() -> int:
    """After each call it does what the call's number says, and waits for the next one."""
    first = await wait(begun).match_any()
    key: str = first.input.key
    total: int = 0
    kept: Any = None
    while True:
        call = await wait(one, name="next").match(key=key)
        total += 1
        match call.input.n:
            case 1:
                try:
                    await wait(two).match(key=key).timeout(SHORT)
                except WaitTimeout:
                    total += 100
            case 2:
                await wait(two).match(key=key).from_now()
            case 3:
                await wait(two).match(key=key).exclusive()
            case 4:
                await judged(key)
            case 5:
                instance().tag(total=total)
            case 6:
                kept = say(key, total)
            case 7:
                total += await below(key)
            case 8:
                await sleep(SHORT)
            case 9:
                trouble()
            case 10:
                await any_of(wait(two).match(key=key), wait(one).match(key=key, n=99))
            case 11:
                kept = step(work, total)
            case 12:
                try:
                    await bare()
                except UsageError:
                    total += 1000
            case 13:
                kept = [1 << 70, {"a": key}]
            case 14:
                kept = 1 << 70
            case 15:
                kept = None
            case 16:
                kept = await straight(key)
            case 17:
                await wait(two).match(key=key).after_match(str)
            case 19:
                await wait(one, name="next").match(key=key, n=total)
            case 18:
                return total if kept is None else -total
            case _:
                pass


MOVES = st.lists(
    st.one_of(
        st.integers(0, 19).map(lambda n: ("one", n)),
        st.integers(0, 3).map(lambda n: ("two", n)),
        st.sampled_from([("time", 0), ("restart", 0), ("retry", 0)]),
    ),
    max_size=14,
)


def ran(moves: list[tuple[str, int]], **options: Any) -> list[Any]:
    """What was committed, move by move, by a kernel with these options."""
    _raised.clear()
    bench = Bench(various, runs_inline=True, **options)
    found = [told(bench.push(begun, key="k")), told(bench.push(begun, key="other"))]
    for kind, n in moves:
        match kind:
            case "time":
                bench.now_us += 6_000_000
                commit = bench.apply(TimersDue(upto_us=bench.now_us))
            case "restart":
                commit = bench.restart()
            case "retry":
                failed = [one.id for one in bench.instances if one.status is Status.FAILED]
                commit = bench.apply(*(RetryAsked(instance=id) for id in failed))
            case _:
                commit = bench.push(one if kind == "one" else two, key="k", n=n)
        found.append(told(commit))
    return found


def in_the_general_way(*_: object) -> bool:
    """In the place of `plain_turns.take`."""
    return False


def told(commit: Commit) -> list[Any]:
    """What a commit says, without the bytes of pickled states."""
    turns = [
        msgspec.structs.replace(
            turn, instance=_readable(turn.instance), outgoing=_said(turn.outgoing)
        )
        for number in sorted(commit.turns)
        for turn in commit.turns[number]
    ]
    lines = [(line.instance, line.level, line.event) for line in commit.logs]
    return [
        turns,
        commit.headers,
        commit.applied_calls,
        commit.steps,
        commit.steps_cancelled,
        [(shard, *_said([outgoing])) for shard, outgoing in commit.outgoing],
        commit.look_backs,
        commit.finished,
        commit.results,
        lines,
    ]


def _said(outgoing: list[Outgoing]) -> list[Any]:
    """Calls that were published, without the ids that were made for them."""
    decoded = [msgspec.msgpack.decode(one.call, type=OutgoingCall) for one in outgoing]
    return [
        (one.sequence, call.method, call.input) for one, call in zip(outgoing, decoded, strict=True)
    ]


def _readable(record: Any) -> Any:
    error = record.error and msgspec.structs.replace(record.error, traceback="")
    is_flat = record.state is None or record.state[:2] == FLAT_HEADER
    return msgspec.structs.replace(record, error=error, state=record.state if is_flat else b"")


@given(moves=MOVES)
def test_a_plain_turn_does_what_the_general_way_does(moves: list[tuple[str, int]]) -> None:
    check_both_ways(moves)


@pytest.mark.parametrize("then", ["one", "two", "time", "restart", "retry"])
def test_a_plain_turn_behind_anything_does_what_the_general_way_does(then: str) -> None:
    for n in range(20):
        check_both_ways([("one", n), (then, 0), ("one", 0), ("two", 0), ("one", 0)])


def test_a_wait_for_other_calls_of_the_same_method_has_a_key_of_its_own() -> None:
    bench = Bench(various, runs_inline=True)
    bench.push(begun, key="k")
    turns = [len(bench.push(one, key="k", n=n).turns) for n in (19, 5, 1, 0)]
    assert turns == [1, 0, 1, 1]
    check_both_ways([("one", n) for n in (19, 5, 1, 0)])


def check_both_ways(moves: list[tuple[str, int]]) -> None:
    """What is committed is the same, whether turns may be plain, and instances packed, or not."""
    plainly = ran(moves)
    assert ran(moves, loaded_instances=0) == plainly
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_turns, "take", in_the_general_way)
        assert ran(moves) == plainly


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How turns were taken: plain, begun (and gone on in the general way), or general."""
    found: list[str] = []
    take: Callable[..., Any] = plain_turns.take

    def watched(*arguments: Any) -> Any:
        came = take(*arguments)
        found.append("plain" if came is True else "begun" if came else "general")
        return came

    monkeypatch.setattr(plain_turns, "take", watched)
    return found


@pytest.mark.parametrize(
    ("n", "way"),
    [
        *((n, "plain") for n in (0, 2, 3, 15, 19)),
        *((n, "begun") for n in (1, 4, 5, 6, 7, 9, 10, 11, 13, 14, 16, 17, 18)),
    ],
)
def test_what_is_plain_is_taken_plainly(ways: list[str], n: int, way: str) -> None:
    bench = Bench(various, runs_inline=True)
    bench.push(begun, key="k")
    bench.push(one, key="k", n=n)
    assert ways == [way]


async def ordinary() -> None:
    """Awaits something that is not durable."""
    await Pause()


@workflow
async def pausing() -> int:
    """Comes to an ordinary await behind its wait."""
    first = await wait(begun).match_any()
    call = await wait(one).match(key=first.input.key)
    await ordinary()
    return call.input.n


def test_a_turn_that_awaits_something_ordinary_goes_on_as_a_task(ways: list[str]) -> None:
    bench = Bench(pausing, runs_inline=True)
    bench.push(begun, key="k")
    commit = bench.push(one, key="k", n=5)
    assert ways == ["begun"]
    assert len(commit.tasks) == 1
    assert bench.go_on().results == [(bench.only.id, 5)]
