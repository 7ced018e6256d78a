"""W3C trace contexts: which distributed trace a call, a turn or a step belongs to.

A context is the text of a `traceparent` header: version, trace, parent span and flags. A call
carries it among its headers, an instance keeps that of its last turn beside its waits, and what a
turn or a step publishes carries it on. Nothing here makes spans, and nothing loads OpenTelemetry.

Source: https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import msgspec

from raysume.durable import current_turn
from raysume.records import OutgoingCall

HEADER = "traceparent"
"""The header's name, in lower case, for HTTP and among a call's headers."""

_FORM = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    r"(?P<more>-.*)?"
)
_SAMPLED = 0x01

step_context: ContextVar[str | None] = ContextVar("raysume_traceparent", default=None)
"""The context in which the running step was asked for."""


def checked(value: str | None) -> str | None:
    """The context as raysume passes it on; None when it is malformed, which means as if not sent.

    One of a later version is passed on as version 00, with what 00 knows of it.
    """
    if value is None:
        return None
    found = _FORM.fullmatch(value.strip(" \t"))
    if found is None or found["version"] == "ff":
        return None
    if not found["trace"].strip("0") or not found["span"].strip("0"):
        return None
    if found["version"] == "00":
        return None if found["more"] is not None else found[0]
    return f"00-{found['trace']}-{found['span']}-{int(found['flags'], 16) & _SAMPLED:02x}"


def context_in(headers: Mapping[str, str]) -> str | None:
    """The context among a call's headers; None when there is none, or a malformed one."""
    return checked(headers.get(HEADER))


def is_sampled(context: str) -> bool:
    """Whether whoever made the (checked) context records its trace."""
    return bool(int(context[-2:], 16) & _SAMPLED)


def child_of(context: str, span: str) -> str:
    """The context of a span (16 hex digits) whose parent has `context`."""
    return f"{context[:36]}{span}{context[52:]}"


def span_in(context: str) -> str:
    """The 16 hex digits of the span that the context names."""
    return context[36:52]


def span_of_turn(context: str, instance: str, turn: int, failures: int) -> str:
    """The id of the span of a turn: the same when the turn is taken again after a crash.

    Args:
        context: that of what it is taken for.
        turn: its number.
        failures: how often it failed before.
    """
    named = f"{context}/{instance}/{turn}/{failures}".encode()
    return hashlib.blake2b(named, digest_size=8).hexdigest()


def traced(call: OutgoingCall, context: str | None) -> OutgoingCall:
    """The call, which carries the context unless it carries one already."""
    if context is None or (call.headers is not None and HEADER in call.headers):
        return call
    return msgspec.structs.replace(call, headers={**(call.headers or {}), HEADER: context})


def traceparent() -> str | None:
    """The W3C trace context of the code that asks, to be handed on to others; None: there is none.

    In a workflow that of its turn, in a step that of the step, anywhere else that of the current
    OpenTelemetry span.
    """
    turn = current_turn.get()
    if turn is not None:
        return turn.trace
    return step_context.get() or _current_span()


def _current_span() -> str | None:
    """The context of the current OpenTelemetry span, where somebody uses OpenTelemetry."""
    api: Any = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    found = api.get_current_span().get_span_context()
    if not found.is_valid:
        return None
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{int(found.trace_flags) & 0xFF:02x}"
