"""Spans are made of sampled traces, where the OTEL_ variables name an exporter, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.unit.kernel.bench import START_US, Bench, begun, call, delivery, one, two

from raysume import step, wait, workflow
from raysume.actors.kernel.commits import Commit
from raysume.actors.kernel.deliveries import DeliveredCall
from raysume.actors.kernel.records import TurnRecord
from raysume.actors.spans import Running, Spans, exporter_names, from_environment, within
from raysume.actors.stepping import attempt_step
from raysume.compiler import loads
from raysume.tracing import checked, is_sampled, span_in, traceparent

TRACE, PARENT = "a" * 32, "1" * 16
SAMPLED = f"00-{TRACE}-{PARENT}-01"
UNSAMPLED = f"00-{TRACE}-{PARENT}-00"
OTLP = "otlp_proto_http"


@workflow
async def spanned() -> str:
    await wait(begun).match_any()
    await wait(one).match_any()
    raise ValueError("no")


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Spans:
    return Spans([exporter], at_once=True)


def seen(exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    return list(exporter.get_finished_spans())


def ids_of(span: ReadableSpan) -> tuple[str, str, str]:
    """Trace, parent and own id."""
    assert span.context is not None
    assert span.parent is not None
    own = span.context
    return f"{own.trace_id:032x}", f"{span.parent.span_id:016x}", f"{own.span_id:016x}"


def in_trace(item: DeliveredCall, context: str) -> DeliveredCall:
    headers = {"traceparent": context}
    return msgspec.structs.replace(item, call=msgspec.structs.replace(item.call, headers=headers))


def told(spans: Spans, commit: Commit) -> list[TurnRecord]:
    turns = [turn for turns in commit.turns.values() for turn in turns]
    spans.turns(turns, workflow="spanned", version="1", now_us=START_US + 5_000)
    return turns


def test_a_block_in_a_sampled_trace_is_a_span_below_its_parent(
    spans: Spans, exporter: InMemorySpanExporter
) -> None:
    with within(spans, "raysume.step", SAMPLED, {"raysume.step": "labour"}) as running:
        inside = running.trace
    [span] = seen(exporter)
    assert inside is not None
    assert ids_of(span) == (TRACE, PARENT, span_in(inside))
    assert (span.name, dict(span.attributes or {})) == (
        "raysume.step",
        {"raysume.step": "labour"},
    )
    assert checked(inside) == inside
    assert is_sampled(inside)
    assert span.resource.attributes["service.name"] == "raysume"


@pytest.mark.parametrize("context", [None, UNSAMPLED])
def test_a_block_in_no_sampled_trace_is_none(
    spans: Spans, exporter: InMemorySpanExporter, context: str | None
) -> None:
    with within(spans, "raysume.step", context, {}) as running:
        assert running == Running(context)
    assert seen(exporter) == []


def test_without_spans_the_context_is_passed_on_as_it_came() -> None:
    with within(None, "raysume.step", SAMPLED, {}) as running:
        assert running == Running(SAMPLED)


def test_an_error_is_told_of_by_the_span_and_goes_on(
    spans: Spans, exporter: InMemorySpanExporter
) -> None:
    with pytest.raises(KeyError), within(spans, "raysume.accept", SAMPLED, {}):
        raise KeyError("x")
    [span] = seen(exporter)
    assert (span.status.is_ok, span.status.description) == (False, "KeyError")


def test_the_span_of_a_turn_has_the_id_that_the_kernel_made(
    spans: Spans, exporter: InMemorySpanExporter
) -> None:
    bench = Bench(spanned, spans=True)
    [turn] = told(spans, bench.apply(delivery(in_trace(call(begun, 0), SAMPLED))))
    [failed] = told(spans, bench.apply(delivery(call(one, 1))))
    first, second = seen(exporter)
    own = span_in(turn.instance.trace or "")
    assert ids_of(first) == (TRACE, PARENT, own)
    assert ids_of(second) == (TRACE, own, span_in(failed.instance.trace or ""))
    assert (first.name, first.start_time, first.end_time) == (
        "raysume.turn",
        START_US * 1_000,
        (START_US + 5_000) * 1_000,
    )
    assert dict(first.attributes or {}) == {
        "raysume.workflow": "spanned",
        "raysume.version": "1",
        "raysume.instance": turn.instance.id,
        "raysume.turn": 1,
        "raysume.status": "waiting",
        "raysume.cause": "started",
        "raysume.cause.name": begun.urn,
    }
    assert first.status.is_ok
    assert second.status.description == "ValueError"


def test_turns_of_no_sampled_trace_have_no_span(
    spans: Spans, exporter: InMemorySpanExporter
) -> None:
    bench = Bench(spanned, spans=True)
    told(spans, bench.apply(delivery(in_trace(call(begun, 0), UNSAMPLED))))
    told(spans, bench.apply(delivery(call(two, 1), call(begun, 2))))
    assert seen(exporter) == []


def test_a_sampler_that_wants_no_turn_leaves_the_next_span_its_random_id(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    none = Spans([exporter], at_once=True)
    bench = Bench(spanned, spans=True)
    told(none, bench.apply(delivery(in_trace(call(begun, 0), SAMPLED))))
    assert seen(exporter) == []


async def test_a_step_runs_in_its_context_and_so_does_what_the_user_traces_there(
    exporter: InMemorySpanExporter,
) -> None:
    from opentelemetry.trace import get_current_span

    def labour() -> tuple[str | None, int]:
        return traceparent(), get_current_span().get_span_context().span_id

    done = await attempt_step(
        step(labour), labour, key="k", step_id="1.1", attempt=1, trace=SAMPLED
    )
    assert loads(done.payload) == (SAMPLED, int(PARENT, 16))
    done = await attempt_step(step(labour), labour, key="k", step_id="1.1", attempt=1)
    assert loads(done.payload) == (None, 0)
    assert seen(exporter) == []


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318"}, [OTLP]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x:4318/v1/traces"}, [OTLP]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_SDK_DISABLED": "true"}, []),
        ({"OTEL_TRACES_EXPORTER": "console"}, ["console"]),
        ({"OTEL_TRACES_EXPORTER": "otlp, console"}, [OTLP, "console"]),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            ["otlp_proto_grpc"],
        ),
    ],
)
def test_the_variables_say_which_exporters_there_are(
    environ: Mapping[str, str], names: list[str]
) -> None:
    assert exporter_names(environ) == names


def test_an_exporter_that_is_not_installed_is_told_of_once_and_does_no_harm() -> None:
    with structlog.testing.capture_logs() as logs:
        assert from_environment({"OTEL_TRACES_EXPORTER": "nobody_has_it"}) is None
    [line] = logs
    assert (line["event"], line["exporters"]) == ("spans_not_made", ["nobody_has_it"])
    assert from_environment({}) is None


def test_an_exporter_that_is_installed_gets_the_spans() -> None:
    code = (
        "from raysume.actors.spans import from_environment\n"
        "made = from_environment()\n"
        f"with made.span('raysume.accept', {SAMPLED!r}, {{}}): pass\n"
        "made.stop()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        env={**os.environ, "OTEL_TRACES_EXPORTER": "console", "OTEL_SERVICE_NAME": "mine"},
    )
    printed: Any = msgspec.json.decode(done.stdout)
    assert (printed["name"], printed["parent_id"]) == ("raysume.accept", f"0x{PARENT}")
    assert printed["resource"]["attributes"]["service.name"] == "mine"


def test_where_no_exporter_is_configured_opentelemetry_is_not_loaded() -> None:
    code = (
        "import sys\n"
        "from raysume.actors.spans import attach, from_environment\n"
        "from raysume import tracing\n"
        "assert from_environment({}) is None\n"
        "attach('00-' + 'a' * 32 + '-' + '1' * 16 + '-01')\n"
        "assert tracing.traceparent() is None\n"
        "print(any(name.startswith('opentelemetry') for name in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
