"""Trace contexts are what the W3C says they are, and are passed on by whoever has one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysume import push_call, tracing
from raysume.pushing import current_sink
from raysume.records import OutgoingCall
from raysume.tracing import (
    checked,
    child_of,
    context_in,
    is_sampled,
    span_in,
    span_of_turn,
    step_context,
    traced,
    traceparent,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CONTEXT = f"00-{TRACE}-{SPAN}-01"


@push_call("tracing.told")
def told(n: int) -> int:
    return n


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"0g-{TRACE}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"{CONTEXT}\n",
        f"00_{TRACE}_{SPAN}_01",
    ],
)
def test_a_malformed_context_is_as_if_it_had_not_been_sent(value: str | None) -> None:
    assert checked(value) is None


def test_a_context_is_passed_on_as_it_came() -> None:
    assert checked(CONTEXT) == CONTEXT
    assert checked(f" {CONTEXT}\t") == CONTEXT
    random = f"00-{TRACE}-{SPAN}-03"
    assert checked(random) == random


@pytest.mark.parametrize("more", ["", "-", "-what comes later"])
def test_a_context_of_a_later_version_is_passed_on_as_version_00(more: str) -> None:
    assert checked(f"cc-{TRACE}-{SPAN}-ff{more}") == CONTEXT


@given(st.text(max_size=80))
def test_whatever_is_sent_is_refused_or_well_formed(value: str) -> None:
    found = checked(value)
    assert found is None or checked(found) == found


def test_the_context_of_a_child_has_its_span_and_the_rest_of_its_parents() -> None:
    child = child_of(CONTEXT, "00000000000000aa")
    assert child == f"00-{TRACE}-00000000000000aa-01"
    assert (span_in(child), checked(child)) == ("00000000000000aa", child)


def test_the_lowest_bit_of_the_flags_says_whether_a_context_is_sampled() -> None:
    flags = {"00": False, "01": True, "02": False, "03": True}
    assert {bits: is_sampled(CONTEXT[:-2] + bits) for bits in flags} == flags


def test_the_span_of_a_turn_is_the_same_again_and_another_for_another_turn() -> None:
    one = span_of_turn(CONTEXT, "i", 3, 0)
    assert one == span_of_turn(CONTEXT, "i", 3, 0)
    others = {
        span_of_turn(CONTEXT, "i", 4, 0),
        span_of_turn(CONTEXT, "i", 3, 1),
        span_of_turn(CONTEXT, "j", 3, 0),
        span_of_turn(child_of(CONTEXT, one), "i", 3, 0),
    }
    assert len(others | {one}) == 5


def test_a_calls_own_context_is_not_replaced() -> None:
    call = OutgoingCall("1", "m", "s", b"{}", headers={"a": "b"})
    assert traced(call, None) is call
    assert traced(call, CONTEXT).headers == {"a": "b", "traceparent": CONTEXT}
    own = OutgoingCall("1", "m", "s", b"{}", headers={"traceparent": "mine"})
    assert traced(own, CONTEXT) is own
    assert context_in({"traceparent": "mine"}) is None
    assert context_in({}) is None


def test_a_call_pushed_in_a_step_carries_the_context_of_the_step() -> None:
    taken: list[OutgoingCall] = []
    sink, context = current_sink.set(taken.append), step_context.set(CONTEXT)
    try:
        assert traceparent() == CONTEXT
        told(1)
    finally:
        step_context.reset(context)
        current_sink.reset(sink)
    assert [call.headers for call in taken] == [{"traceparent": CONTEXT}]


def test_a_call_pushed_in_nobodys_trace_has_no_header() -> None:
    taken: list[OutgoingCall] = []
    sink = current_sink.set(taken.append)
    try:
        told(1)
    finally:
        current_sink.reset(sink)
    assert [call.headers for call in taken] == [None]


def test_code_that_uses_opentelemetry_pushes_in_its_current_span() -> None:
    from opentelemetry.context import Context, attach, detach
    from opentelemetry.trace import (
        NonRecordingSpan,
        SpanContext,
        TraceFlags,
        set_span_in_context,
    )

    own = SpanContext(int(TRACE, 16), int(SPAN, 16), is_remote=False, trace_flags=TraceFlags(1))
    token = attach(set_span_in_context(NonRecordingSpan(own), Context()))
    try:
        assert tracing.traceparent() == CONTEXT
    finally:
        detach(token)
    assert tracing.traceparent() is None
