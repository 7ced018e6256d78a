"""An instance goes on in the trace of the call that it met, else in the one that it waits in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from tests.unit.kernel.bench import (
    START_US,
    Bench,
    begun,
    call,
    delivery,
    one,
    two,
)

from raysume import push_call, step, tracing, wait, workflow
from raysume.actors.kernel.commits import Commit, Started, StepEnded, TimersDue
from raysume.actors.kernel.deliveries import DeliveredCall, StartRequest
from raysume.actors.kernel.records import (
    Cause,
    InstanceRecord,
    StepDone,
    TurnRecord,
)
from raysume.compiler import dumps
from raysume.records import OutgoingCall
from raysume.tracing import checked, child_of, span_of_turn

HOUR_US = 3_600_000_000
A = f"00-{'a' * 32}-{'1' * 16}-01"
B = f"00-{'b' * 32}-{'2' * 16}-01"
UNSAMPLED = f"00-{'c' * 32}-{'3' * 16}-00"


@push_call("traces.noted")
def noted(what: str) -> str:
    return what


def labour() -> str:
    return "done"


@workflow
async def traced() -> str:
    await wait(begun).match_any()
    noted("begun")
    await wait(one).match_any()
    noted("one")
    await step(labour)
    noted("stepped")
    await wait(two).match_any().from_now().timeout(timedelta(hours=1))
    return tracing.traceparent() or "none"


@workflow
async def plain() -> str:
    await wait(begun).match_any()
    await wait(one).match_any()
    await wait(two).match_any()
    return tracing.traceparent() or "none"


@workflow
async def explicitly(n: int) -> str:
    await wait(one).match(n=n)
    return tracing.traceparent() or "none"


def with_context(item: DeliveredCall, context: str | None) -> DeliveredCall:
    headers = None if context is None else {"traceparent": context}
    return msgspec.structs.replace(item, call=msgspec.structs.replace(item.call, headers=headers))


def turn_of(commit: Commit) -> TurnRecord:
    [turn] = [turn for turns in commit.turns.values() for turn in turns]
    return turn


def headers_of(commit: Commit) -> list[dict[str, str] | None]:
    return [
        msgspec.msgpack.decode(outgoing.call, type=OutgoingCall).headers
        for _, outgoing in commit.outgoing
    ]


def push(bench: Bench, method: Any, offset: int, context: str | None) -> TurnRecord:
    return turn_of(bench.apply(delivery(with_context(call(method, offset), context))))


def test_a_trace_goes_from_the_call_into_what_the_turns_ask_for() -> None:
    bench = Bench(traced)
    first = bench.apply(delivery(with_context(call(begun, 0), A)))
    assert (turn_of(first).cause, turn_of(first).instance.trace) == (
        Cause("started", begun.urn, "call-0", A),
        A,
    )
    assert headers_of(first) == [{"traceparent": A}]
    second = bench.apply(delivery(with_context(call(one, 1), B)))
    assert headers_of(second) == [{"traceparent": B}]
    [order] = second.steps
    assert order.trace == B
    done = StepDone(order.step, 1, True, dumps("done"))
    third = bench.apply(StepEnded(instance=order.instance, done=done))
    cause = turn_of(third).cause
    assert cause is not None
    assert (cause.kind, cause.trace) == ("step", B)
    assert headers_of(third) == [{"traceparent": B}]


def test_the_context_in_which_an_instance_waits_survives_a_restart() -> None:
    bench = Bench(traced)
    push(bench, begun, 0, A)
    asked = bench.apply(delivery(call(one, 1)))
    assert asked.steps[0].trace == A
    [again] = bench.restart().steps
    assert again.trace == A
    done = StepDone(again.step, 1, True, dumps("done"))
    bench.apply(StepEnded(instance=again.instance, done=done))
    bench.restart()
    bench.now_us = START_US + 2 * HOUR_US
    turn = turn_of(bench.apply(TimersDue(upto_us=bench.now_us)))
    assert turn.cause is not None
    assert (turn.cause.kind, turn.cause.trace) == ("timeout", A)


@pytest.mark.parametrize("malformed", ["", "00-1-2-3", A.upper(), None])
def test_a_malformed_context_leaves_the_instance_where_it_was(malformed: str | None) -> None:
    bench = Bench(plain)
    push(bench, begun, 0, A)
    turn = push(bench, one, 1, malformed)
    assert turn.instance.trace == A


def test_nothing_is_kept_of_calls_without_a_context() -> None:
    bench = Bench(traced)
    commit = bench.apply(delivery(call(begun, 0)))
    assert (turn_of(commit).instance.trace, headers_of(commit)) == (None, [None])
    cause = turn_of(commit).cause
    assert cause is not None
    assert cause.trace is None


def test_a_turn_knows_its_context_on_the_plain_way_too() -> None:
    bench = Bench(plain)
    push(bench, begun, 0, None)
    assert push(bench, one, 1, B).instance.trace == B
    assert push(bench, two, 2, A).instance.result == f'"{A}"'.encode()


def test_an_explicit_start_and_a_child_begin_in_the_context_of_their_request() -> None:
    bench = Bench(explicitly)
    request = StartRequest("explicitly", "x", b'{"n": 1}', START_US, trace=A)
    assert turn_of(bench.apply(Started(request=request, token=1))).instance.trace == A


# --- with spans ------------------------------------------------------------------------------


def test_a_turn_of_a_sampled_trace_is_a_span_and_what_it_asks_for_is_below() -> None:
    bench = Bench(traced, spans=True)
    first = bench.apply(delivery(with_context(call(begun, 0), A)))
    turn = turn_of(first)
    own = child_of(A, span_of_turn(A, turn.instance.id, 1, 0))
    assert checked(own) == own
    assert turn.cause is not None
    assert (turn.cause.trace, turn.instance.trace) == (A, own)
    assert headers_of(first) == [{"traceparent": own}]
    second = bench.apply(delivery(call(one, 1)))
    next_own = child_of(own, span_of_turn(own, turn.instance.id, 2, 0))
    assert second.steps[0].trace == next_own
    assert turn_of(second).instance.trace == next_own


def test_a_trace_that_is_not_sampled_is_passed_on_as_it_came() -> None:
    bench = Bench(plain, spans=True)
    turn = push(bench, begun, 0, UNSAMPLED)
    assert turn.cause is not None
    assert (turn.cause.trace, turn.instance.trace) == (UNSAMPLED, UNSAMPLED)


@pytest.mark.parametrize("keep_live", [False, True])
def test_both_ways_to_take_a_turn_give_the_same_spans(keep_live: bool) -> None:
    """With `keep_live` no turn is plain."""
    bench = Bench(plain, spans=True, keep_live=keep_live)
    instance = push(bench, begun, 0, A).instance
    turn = push(bench, one, 1, B)
    own = child_of(B, span_of_turn(B, instance.id, 2, 0))
    assert turn.cause == Cause("call", one.urn, "call-1", B)
    assert turn.instance.trace == own


def test_a_turn_that_goes_on_as_a_task_is_in_the_trace_once_it_is_over() -> None:
    bench = Bench(traced, spans=True, runs_inline=False)
    commit = bench.apply(delivery(with_context(call(begun, 0), A)))
    waiting = turn_of(commit)
    assert (waiting.cause, waiting.instance.trace) == (None, A)
    turn = turn_of(bench.go_on())
    assert turn.cause is not None
    own = child_of(A, span_of_turn(A, turn.instance.id, 1, 0))
    assert (turn.cause.trace, turn.instance.trace) == (A, own)


# --- what was written before -------------------------------------------------------------------


def test_records_that_were_written_without_traces_are_read() -> None:
    bench = Bench(plain)
    record = push(bench, begun, 0, None).instance
    fields: list[Any] = msgspec.msgpack.decode(msgspec.msgpack.encode(record))
    assert fields.pop() is None
    older = msgspec.msgpack.decode(msgspec.msgpack.encode(fields), type=InstanceRecord)
    assert older == record
    cause = msgspec.msgpack.encode(["call", "m", "1"])
    assert msgspec.msgpack.decode(cause, type=Cause) == Cause("call", "m", "1")
