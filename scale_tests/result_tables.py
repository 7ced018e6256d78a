"""The tables of docs/performance.md, made from the results that are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from scale_tests.kept_results import Line, Results, addition_ns
from scale_tests.model import best
from scale_tests.model_checks import latency_checks, on_usual_machine, throughput_checks
from scale_tests.stage_costs import REFERENCE_NS, costs_of, stages

FIGURES: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "pushed_calls": (
        ("waits", "batch", "connections", "members", "replicas"),
        ("accepted_per_s", "committed_per_s", "cpu_us_per_call", "behind_s", "lost"),
    ),
    "resume_latency": (
        ("waits", "rate"),
        (
            *("hot_p50_ms", "hot_p99_ms", "cold_p50_ms", "cold_p99_ms"),
            *("half_load_per_s", "half_load_p50_ms", "half_load_p99_ms", "lost"),
        ),
    ),
    "active_waits": (
        (),
        ("cold_bytes_per_wait", "warm_bytes_per_wait", "hot_bytes_per_wait", "match_cost_ratio"),
    ),
    "recovery": (("waits",), ("first_call_s", "all_s", "lost")),
    "long_run": (("turns",), ("last_to_first_ratio", "last_state_bytes", "reload_s")),
    "soak": (("minutes", "waits"), ("rss_slope_mb_per_hour", "calls_per_s", "lost")),
    "flights": (("days",), ("calls_per_s", "cpu_us_per_call", "equal")),
    "serve_costs": (("connections",), ("answered_per_s", "cpu_us_per_call")),
    "kernel_costs": (("waits",), ("decode_us", "apply_us", "encode_us", "checkpoint_us")),
}
"""Command -> the figures that say what was run, and those that say how it went."""

COMMANDS: Final = (
    *FIGURES,
    *("ingress_costs", "storage_costs", "growth_costs", "step_results", "peers"),
)
"""All whose results are read or named."""

CORES: Final = (2, 4, 8, 16, 32, 64)
NOTHING: Final = "No results are kept for this yet."


def number(value: float | str | None) -> str:
    """A figure as people write it: three digits that count, or all before the point."""
    if value is None or isinstance(value, str | bool):
        return "" if value is None else str(value)
    if not math.isfinite(value):
        return "no limit" if value > 0 else str(value)
    if value == round(value) or abs(value) >= 1_000:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


def table(head: Sequence[str], rows: Iterable[Sequence[float | str | None]]) -> str:
    """Markdown; without rows it says that there is nothing."""
    lines = [f"| {' | '.join(number(cell) for cell in row)} |" for row in rows]
    if not lines:
        return NOTHING
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines])


# --- what was run ------------------------------------------------------------------


def figures_table(results: Results) -> str:
    """The newest result of each command and setting, and the conditions in which it was made."""
    rows: list[Sequence[float | str | None]] = []
    for command, (settings, figures) in FIGURES.items():
        for line in results.newest_by(command, *settings):
            rows.append(
                (
                    f"`{command}` {_told(line, settings)}".strip(),
                    ", ".join(_with_spread(line, name) for name in figures if name in line),
                    addition_ns(line),
                    line["conditions"]["load"],
                    line["conditions"].get("stolen"),
                    _when(line),
                )
            )
    return table(("what", "figures", "`addition_ns`", "load", "`stolen`", "made"), rows)


def _told(line: Line, names: Iterable[str]) -> str:
    return ", ".join(f"{number(line[name])} {name}" for name in names if name in line)


def _with_spread(line: Line, name: str) -> str:
    found: Sequence[float] = line.get("spread", {}).get(name, ())
    told = f"`{name}` {number(line[name])}"
    if len(found) < 2 or found[0] == found[-1]:
        return told
    return f"{told} ({number(found[0])} to {number(found[-1])})"


def _when(line: Line) -> str:
    run: Mapping[str, Any] = line.get("run", {})
    day, revision = str(run.get("at", ""))[:10], run.get("revision")
    return f"{day} {revision or ''}".strip()


# --- costs -------------------------------------------------------------------------


def stages_table(results: Results) -> str:
    """What each stage costs a call."""
    return table(
        ("process", "stage", f"us at {REFERENCE_NS:.0f} ns", "measured us", "at ns", "by"),
        (
            (
                *(one.process, one.name, round(one.us, 2), round(one.measured_us, 2)),
                *(one.addition_ns, one.source),
            )
            for one in stages(results)
        ),
    )


def growth_table(results: Results) -> str:
    """How the cost of a call grows with members, versions and waits."""
    rows: list[Sequence[float | str | None]] = []
    growth, waits = results.newest("growth_costs"), results.newest("active_waits")
    if growth is not None:
        for kind in ("members", "versions"):
            by_number: Mapping[str, Mapping[str, float]] = growth[kind]
            least = next(iter(by_number.values()))
            for many, one in by_number.items():
                compared = (one["all_us"] / least["all_us"], one["busiest_us"])
                rows.append((f"{kind}: {many}", one["all_us"], *compared, addition_ns(growth)))
    if waits is not None:
        keyed: Mapping[str, Mapping[str, float]] = waits["keyed"]
        least = next(iter(keyed.values()))
        for many, one in keyed.items():
            ratio = one["call_us"] / least["call_us"]
            told = f"keyed waits: {int(many):,} (finding them: {number(one['match_us'])} us)"
            rows.append((told, one["call_us"], ratio, one["call_us"], addition_ns(waits)))
    head = ("with", "us a call, all together", "times the first", "us, the busiest process")
    return table((*head, "`addition_ns`"), rows)


# --- the model ---------------------------------------------------------------------


def expected_table(results: Results) -> str:
    """What the model expects of bigger machines, with the best members and replicas."""
    costs = costs_of(results)
    if costs is None:
        return NOTHING
    rows: list[Sequence[float | str | None]] = []
    for cores in CORES:
        chosen, found = best(
            costs, on_usual_machine(cores), members=range(1, 17), replicas=range(1, 9)
        )
        alone = [f"{name} {number(per_s)}" for name, per_s in found.limits.items()]
        told = (cores, chosen.members, chosen.replicas, found.per_s, found.saturated)
        rows.append((*told, ", ".join(alone)))
    head = ("cores", "members", "replicas", "calls/s", "used up first", "each part alone, calls/s")
    return f"{_missing(costs.missing)}{table(head, rows)}"


def _missing(kinds: Sequence[str]) -> str:
    if not kinds:
        return ""
    return (
        f"Not measured yet, so not counted: {', '.join(kinds)}. **All figures of this table are "
        "bounds from above until they are.**\n\n"
    )


def checks_table(results: Results) -> str:
    """What the model says of points that were measured."""
    costs = costs_of(results)
    if costs is None:
        return NOTHING
    throughput = table(
        ("calls/s", "measured", "model", "measured / model", "used up first", "same run"),
        (
            (
                *(one.what, one.measured, round(one.expected), round(one.ratio, 2), one.why),
                "yes" if one.has_given else "no",
            )
            for one in throughput_checks(results, costs)
        ),
    )
    latency = table(
        ("latency", "offered/s", "measured p50 ms", "model, mean ms", "calls under way"),
        (
            (one.what, one.offered_per_s, one.measured_ms, one.expected_ms, one.under_way)
            for one in latency_checks(results, costs)
        ),
    )
    engine = [one for one in throughput_checks(results, costs) if one.what.startswith("engine")]
    unchecked = "" if engine else "\n\n**The model of the whole engine is not checked yet.**"
    return "\n\n".join(part for part in (throughput, latency) if part != NOTHING) + unchecked


# --- peers -------------------------------------------------------------------------


def peers_table(results: Results) -> str:
    """Medians of raysume and of its peers, of the newest comparison."""
    line = results.newest("peers")
    if line is None:
        return NOTHING
    systems: Mapping[str, Any] = line["systems"]
    names = list(dict.fromkeys(name for one in systems.values() for name in one["figures"]))
    rows = (
        (f"`{name}`", *(one["figures"].get(name, {}).get("median") for one in systems.values()))
        for name in names
    )
    made = f"`addition_ns` {addition_ns(line)}, load {line['conditions']['load']}"
    return f"{table(('', *systems), rows)}\n\n{made} {_when(line)}".rstrip()


TABLES: Final[Mapping[str, Callable[[Results], str]]] = {
    "figures": figures_table,
    "stages": stages_table,
    "growth": growth_table,
    "expected": expected_table,
    "checks": checks_table,
    "peers": peers_table,
}
"""Name of a table -> what makes it."""
