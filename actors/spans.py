"""OpenTelemetry spans of sampled traces, where an exporter is configured; nowhere else is it loaded.

The standard variables say whether and where to: OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_ENDPOINT
and their like. Spans of raysume have a provider of their own: the one of the user's code, if it
has one, stays as it is. Its ids are random, but for turns, whose ids the kernel makes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import structlog

from raysume.tracing import child_of, is_sampled, span_in

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter

    from raysume.actors.kernel.records import TurnRecord

_EXPORTERS = "opentelemetry_traces_exporter"
"""The group of entry points in which installed exporters are found."""

_log = structlog.get_logger("raysume.tracing")


@dataclass(slots=True)
class Running:
    """A span that has not ended, or the place of one that is not made."""

    trace: str | None
    """The context of what is done inside: the span's own, or that of its parent."""
    error: str | None = None
    """Set: the span ends as failed."""


class Spans:
    """Makes spans. Used by one thread.

    Args:
        exporters: where they go.
        at_once: export each as it ends, in the same thread (in tests).
    """

    def __init__(self, exporters: Iterable[SpanExporter], *, at_once: bool = False) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        class Ids(RandomIdGenerator):
            """Random ids; for once the one that is known."""

            known: int | None = None

            def generate_span_id(self) -> int:
                known, self.known = self.known, None
                return super().generate_span_id() if known is None else known

        resource = Resource.create()
        if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": "raysume"}))
        self._ids = Ids()
        self._provider = TracerProvider(resource=resource, id_generator=self._ids)
        for exporter in exporters:
            made = SimpleSpanProcessor(exporter) if at_once else BatchSpanProcessor(exporter)
            self._provider.add_span_processor(made)
        self._tracer = self._provider.get_tracer("raysume")

    @contextmanager
    def span(
        self, name: str, parent: str, attributes: Mapping[str, str | int]
    ) -> Generator[Running]:
        """A span around the block; an error that leaves the block is the span's, too."""
        made = self._tracer.start_span(name, _remote(parent), attributes=attributes)
        context = made.get_span_context()
        running = Running(child_of(parent, f"{context.span_id:016x}"))
        try:
            yield running
        except BaseException as error:
            running.error = running.error or type(error).__name__
            raise
        finally:
            self._end(made, running.error)

    def turns(
        self, turns: Iterable[TurnRecord], *, workflow: str, version: str, now_us: int
    ) -> None:
        """The turns are durable: those of sampled traces have their spans.

        Whatever goes wrong with a span is logged: a turn that is durable goes on without it.

        Args:
            now_us: when they are. A span begins when the turn's batch was applied.
        """
        about: dict[str, str | int] = {"raysume.workflow": workflow, "raysume.version": version}
        for turn in turns:
            try:
                self._turn(turn, about, now_us)
            except Exception as error:
                _log.warning("span_not_made", instance=turn.instance.id, error=repr(error))

    def _turn(self, turn: TurnRecord, about: Mapping[str, str | int], now_us: int) -> None:
        cause, instance = turn.cause, turn.instance
        if cause is None or cause.trace is None or instance.trace is None:
            return
        if not is_sampled(cause.trace) or instance.trace == cause.trace:
            return
        self._ids.known = int(span_in(instance.trace), 16)
        begun = self._tracer.start_span(
            "raysume.turn",
            _remote(cause.trace),
            attributes={
                **about,
                "raysume.instance": instance.id,
                "raysume.turn": instance.turn,
                "raysume.status": instance.status,
                "raysume.cause": cause.kind,
                "raysume.cause.name": cause.name or "",
            },
            start_time=instance.updated_us * 1_000,
        )
        self._ids.known = None  # a sampler may have made no span
        failed = instance.error if instance.status == "failed" else None
        self._end(begun, None if failed is None else failed.type, now_us * 1_000)

    def _end(self, span: Any, error: str | None, at_ns: int | None = None) -> None:
        from opentelemetry.trace import Status, StatusCode

        if error is not None:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end(at_ns)

    def stop(self) -> None:
        """Every span that has ended has left."""
        self._provider.shutdown()


@contextmanager
def within(
    spans: Spans | None, name: str, parent: str | None, attributes: Mapping[str, str | int]
) -> Generator[Running]:
    """A span around the block if its parent is sampled and spans are wanted, else none."""
    if spans is None or parent is None or not is_sampled(parent):
        yield Running(parent)
        return
    with spans.span(name, parent, attributes) as running:
        yield running


def attach(trace: str | None) -> None:
    """Spans that the user's code makes in this (contextvars) context are below `trace`.

    Nothing happens where nobody uses OpenTelemetry.
    """
    if trace is not None and "opentelemetry.trace" in sys.modules:
        from opentelemetry.context import attach

        attach(_remote(trace))


def from_environment(environ: Mapping[str, str] = os.environ) -> Spans | None:
    """Spans as the OTEL_ variables say; None when they name no exporter, or one that is not there."""
    names = exporter_names(environ)
    if not names:
        return None
    try:
        made: list[SpanExporter] = []
        for name in names:
            [found] = entry_points(group=_EXPORTERS, name=name)
            made.append(found.load()())
        return Spans(made)
    except Exception as error:
        _log.warning(
            "spans_not_made",
            exporters=names,
            error=repr(error),
            remedy="install the exporter (pip install 'raysume[otel]'), or unset the OTEL_ variables",
        )
        return None


def exporter_names(environ: Mapping[str, str]) -> list[str]:
    """The entry points of the exporters that the variables ask for.

    Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    said = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    at = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    if not said and any(environ.get(name) for name in at):
        said = "otlp"
    names = [name.strip() for name in said.split(",") if name.strip() not in ("", "none")]
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
    )
    otlp = "otlp_proto_grpc" if protocol.strip() == "grpc" else "otlp_proto_http"
    return [otlp if name == "otlp" else name for name in names]


def _remote(context: str) -> Context:
    """An OpenTelemetry context in which the span of that W3C context is the current one."""
    from opentelemetry.context import Context
    from opentelemetry.trace import (
        NonRecordingSpan,
        SpanContext,
        TraceFlags,
        set_span_in_context,
    )

    parent = SpanContext(
        trace_id=int(context[3:35], 16),
        span_id=int(span_in(context), 16),
        is_remote=True,
        trace_flags=TraceFlags(int(context[-2:], 16)),
    )
    return set_span_in_context(NonRecordingSpan(parent), Context())
