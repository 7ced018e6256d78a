"""What a running engine tells of itself: metrics to Prometheus, spans to a collector."""

from __future__ import annotations

import os
from collections import Counter

import httpx
from prometheus_client.parser import text_string_to_metric_families
from tests.integration.cluster.collecting import Collected, Collector
from tests.integration.cluster.running import ANSWER_S, Engine, begin, started_by, until

from raysume import Client
from raysume.actors.metrics import TABLE


def scraped(engine: Engine) -> dict[str, list[tuple[dict[str, str], float]]]:
    """The samples of all nodes by name, as Prometheus reads them."""
    token = (engine.data_dir / "ray_token").read_text().strip()
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    with httpx.Client(timeout=ANSWER_S, trust_env=False) as http:
        discovered = http.get(
            f"{engine.dashboard}/api/prometheus/sd", headers={"Authorization": f"Bearer {token}"}
        )
        for target in {one for group in discovered.json() for one in group["targets"]}:
            try:
                answer = http.get(f"http://{target}/metrics")
            except httpx.ConnectError:
                continue  # the dashboard's own ports are among them, whether it listens or not
            if answer.status_code != 200:
                continue
            for family in text_string_to_metric_families(answer.text):
                for sample in family.samples:
                    found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


def total(found: dict[str, list[tuple[dict[str, str], float]]], name: str, **labels: str) -> float:
    """The sum over all samples of `ray_<name>` with these labels."""
    return sum(
        value for has, value in found.get(f"ray_{name}", []) if labels.items() <= has.items()
    )


def test_the_metrics_of_calls_reach_prometheus(engine: Engine, client: Client) -> None:
    run = begin(client, "pair", "engine.opened", "measured", n=1)
    client.push("engine.closed", input={"key": "nobody has it", "n": 5}, output=True)
    client.push("engine.closed", input={"key": "measured", "n": 2}, output=True)
    assert run.result(timeout=30) == 3
    begin(client, "pair", "engine.opened", "measured as it waits", n=1)

    def look() -> dict[str, list[tuple[dict[str, str], float]]] | None:
        found = scraped(engine)
        complete = (
            total(found, "raysume_calls_accepted_total") >= 3
            and total(found, "raysume_calls_matched_total", workflow="pair") >= 2
            and total(found, "raysume_calls_unmatched_total", workflow="pair", reason="no_wait") > 0
            and total(found, "raysume_checkpoint_bytes_total", workflow="pair") > 0
            and total(found, "raysume_instances", workflow="pair", temperature="loaded") >= 1
        )
        return found if complete else None

    found = until(look)
    for name in ("apply", "commit"):
        assert total(found, f"raysume_{name}_seconds_count", workflow="pair") > 0
    assert total(found, "raysume_delivery_seconds_count") > 0
    assert total(found, "raysume_active_waits", workflow="pair") >= 2
    told = {name for name in found if name.startswith("ray_raysume_")}
    known = {f"ray_{metric.name}" for metric in TABLE}
    ends = ("_bucket", "_count", "_sum", "_created")
    strange = [name for name in told - known if not name.endswith(ends)]
    assert strange == []


def test_a_sampled_trace_goes_from_the_request_to_the_last_attempt_of_a_step(
    engine: Engine, client: Client, collector: Collector
) -> None:
    trace, parent = os.urandom(16).hex(), os.urandom(8).hex()
    body = {"method": "engine.work_asked", "input": {"key": "traced", "n": 1}, "output": True}
    with engine.http() as http:
        answer = http.post(
            "/v1/calls", json=body, headers={"traceparent": f"00-{trace}-{parent}-01"}
        )
    run = started_by(client, "labour", answer.json()["id"])
    assert run.result(timeout=30).startswith("traced: ")

    def look() -> list[Collected] | None:
        """Each process sends its own, some seconds later."""
        spans = collector.of(trace)
        ends = [span.attributes.get("raysume.status") for span in spans]
        accepted = any(span.name == "raysume.accept" for span in spans)
        return spans if accepted and "completed" in ends else None

    spans = until(look)
    kinds = Counter(span.name for span in spans)
    assert kinds["raysume.turn"] >= 2
    assert (kinds["raysume.accept"], kinds["raysume.step"]) == (1, 3)
    known = {span.id for span in spans}
    assert len(known) == len(spans)
    [top] = [span for span in spans if span.parent not in known]
    assert (top.name, top.parent) == ("raysume.accept", parent)


def test_a_request_without_a_trace_makes_no_span(client: Client, collector: Collector) -> None:
    before = {span.trace for span in collector.spans}
    run = begin(client, "pair", "engine.opened", "untraced", n=1)
    client.push("engine.closed", input={"key": "untraced", "n": 2}, output=True)
    assert run.result(timeout=30) == 3
    assert {span.trace for span in collector.spans} - before == set()
