"""What each stage costs a call, put together from the results of several commands.

Figures of different hours are brought to one speed: that of a machine which adds in `REFERENCE_NS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from scale_tests.kept_results import Line, Results, addition_ns, is_on_sqlite
from scale_tests.model import NOTHING, Cost, Costs, line_of

REFERENCE_NS: Final = 20.0
"""A usual machine."""

PROXIES: Final = ("haproxy", "proxy")
KNOWN: Final = (*PROXIES, "generator", "ingress", "pool")
"""Kinds of processes that the model knows by themselves."""

INGRESS_STAGES: Final = {
    "decode": "decode the request",
    "check": "check calls against their schemas",
    "append": "append to the call log",
    "encode": "encode for a pool",
}
POOL_STAGES: Final = {
    "decode": "decode the delivery",
    "match": "match: find the waits of the call",
    "turn": "resume, snapshot, record",
    "encode": "encode the journal row",
    "store": "store the journal row",
    "note": "note what is durable",
    "checkpoint": "checkpoint",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What one stage costs."""

    process: str
    name: str
    measured_us: float
    """CPU for one call, where and when it was measured."""
    addition_ns: float
    source: str
    """The command that measured it."""

    @property
    def us(self) -> float:
        """The same on a usual machine."""
        return self.measured_us * REFERENCE_NS / self.addition_ns


# --- what is measured --------------------------------------------------------------


def stages(results: Results) -> list[Stage]:
    """All stages of which something is known, in the order in which a call meets them."""
    whole = {one.process: one for one in whole_processes(results)}
    inside_ingress, inside_pool = ingress_stages(results), pool_stages(results)
    first = [whole[kind] for kind in ("generator", *PROXIES) if kind in whole]
    later = [one for kind, one in whole.items() if kind not in KNOWN]
    return [
        *first,
        *inside_ingress,
        *_rest(whole.get("ingress"), inside_ingress, "deliver, and what Ray does for it"),
        *inside_pool,
        *_rest(whole.get("pool"), inside_pool, "receive from Ray, event loop, effects"),
        *later,
    ]


def _rest(whole: Stage | None, parts: Iterable[Stage], name: str) -> Iterator[Stage]:
    """What a process uses beyond the parts that were measured by themselves."""
    if whole is None:
        return
    rest = whole.us - sum(part.us for part in parts)
    yield Stage(
        process=whole.process,
        name=name,
        measured_us=rest * whole.addition_ns / REFERENCE_NS,
        addition_ns=whole.addition_ns,
        source=f"{whole.source}, less the above",
    )


def whole_processes(results: Results) -> list[Stage]:
    """CPU of each kind of process for a call, of the newest run in large batches."""
    line = next(iter(reversed(plain_runs(results, is_batch=True))), None)
    if line is None:
        return []
    by_kind: Mapping[str, float] = line["cpu_us_by_process"]
    return [
        Stage(
            process=kind,
            name="all of it",
            measured_us=us,
            addition_ns=addition_ns(line),
            source="pushed_calls",
        )
        for kind, us in by_kind.items()
    ]


IN_MEMORY_WAITS: Final = 100_000
"""With more waits calls meet instances that are packed or cold: stages are those without."""


def plain_runs(results: Results, *, is_batch: bool | None = None) -> list[Line]:
    """Results of `pushed_calls` that know the CPU by process, of one member and one replica
    on SQLite, with all instances in memory."""
    return [
        line
        for line in results.of("pushed_calls")
        if "cpu_us_by_process" in line
        and (line["members"], line["replicas"]) == (1, 1)
        and is_on_sqlite(line)
        and line["waits"] <= IN_MEMORY_WAITS
        and (is_batch is None or (line["batch"] > 1) == is_batch)
    ]


def ingress_stages(results: Results) -> list[Stage]:
    """What an ingress does for a call in a batch."""
    line = results.newest("ingress_costs")
    if line is None:
        return []
    parts: dict[str, float] = {
        name: line["stages_us"][stage] for stage, name in INGRESS_STAGES.items()
    }
    served = max(line["loads"], key=lambda one: (one["calls_per_request"], one["connections"]))
    parts["HTTP, event loop, group commit"] = served["cpu_us_per_call"] - sum(parts.values())
    return _stages("ingress", parts, line, "ingress_costs")


def pool_stages(results: Results) -> list[Stage]:
    """What a pool does for a call."""
    line = results.newest("kernel_costs")
    if line is None:
        return []
    us = {stage: float(line.get(f"{stage}_us", 0.0)) for stage in POOL_STAGES}
    us["turn"] = float(line["apply_us"]) - us["match"]
    parts = {name: us[stage] for stage, name in POOL_STAGES.items()}
    return _stages("pool", parts, line, "kernel_costs")


def _stages(process: str, parts: Mapping[str, float], line: Line, source: str) -> list[Stage]:
    return [
        Stage(
            process=process,
            name=name,
            measured_us=us,
            addition_ns=addition_ns(line),
            source=source,
        )
        for name, us in parts.items()
    ]


# --- for the model -----------------------------------------------------------------


def costs_of(results: Results) -> Costs | None:
    """What the model needs, on a usual machine; None: not even a pool was measured.

    Where `pushed_calls` has not told the CPU of each process, a pool costs what `kernel_costs`
    tells, an ingress what `ingress_costs` does, and what else there is, is missing.
    """
    found = _of_cluster(results) or _without_cluster(results)
    if found is None:
        return None
    growth, store = results.newest("growth_costs"), _commits(results)
    missing = list(found.missing)
    if growth is None:
        missing.append("other members")
    else:
        speed = REFERENCE_NS / addition_ns(growth)
        member_us, version_us = growth["member_us"] * speed, growth["version_us"] * speed
        found = replace(found, member_us=member_us, version_us=version_us)
    if store is None:
        missing.append("commits")
    else:
        found = replace(found, commit_ms=store.request_us / 1e3, append_us=store.call_us)
    return replace(found, missing=tuple(missing))


def _of_cluster(results: Results) -> Costs | None:
    """The processes of a whole engine."""
    runs = plain_runs(results)
    if not runs:
        return None
    others = {kind for run in runs for kind in run["cpu_us_by_process"]} - set(KNOWN)
    return Costs(
        addition_ns=REFERENCE_NS,
        generator=_of_processes(runs, ("generator",)),
        proxy=_of_processes(runs, PROXIES),
        ingress=_of_processes(runs, ("ingress",)),
        pool=_of_processes(runs, ("pool",)),
        others=_of_processes(runs, sorted(others)),
    )


def _without_cluster(results: Results) -> Costs | None:
    """What commands of one process tell."""
    pool, ingress = pool_stages(results), results.newest("ingress_costs")
    if not pool:
        return None
    unknown = ("generator", "proxy", "deliveries", "Ray's own processes")
    return Costs(
        addition_ns=REFERENCE_NS,
        pool=Cost(call_us=sum(stage.us for stage in pool)),
        ingress=NOTHING if ingress is None else ingress_cost(ingress),
        missing=unknown if ingress is not None else ("ingress", *unknown),
    )


def _commits(results: Results) -> Cost | None:
    """How long a transaction of the call log takes, and each call in it: elapsed time."""
    line = next((one for one in reversed(results.of("storage_costs")) if is_on_sqlite(one)), None)
    if line is None:
        return None
    items = line["microseconds_an_item"]
    sizes = {1: "call alone in a segment", 500: "call in a segment of 500"}
    return line_of({size: items[name]["wall"] for size, name in sizes.items()})


def ingress_cost(line: Line) -> Cost:
    """What an ingress costs on a usual machine, from loads of single calls and of batches.

    Of each size the load with most connections counts: alone, a request pays for the whole
    round of the event loop.
    """
    busiest = sorted(line["loads"], key=lambda one: int(one["connections"]))
    return line_of(
        {
            one["calls_per_request"]: one["cpu_us_per_call"] * REFERENCE_NS / addition_ns(line)
            for one in busiest
        }
    )


def _of_processes(runs: Sequence[Line], kinds: Sequence[str]) -> Cost:
    """The cost of these kinds together; of each size of requests the newest run counts."""
    points: dict[int, float] = {}
    serials: dict[int, float] = {}
    for run in runs:
        spent = sum(run["cpu_us_by_process"].get(kind, 0.0) for kind in kinds)
        busiest = max((run["busiest_thread_us"].get(kind, 0.0) for kind in kinds), default=0.0)
        points[run["batch"]] = spent * REFERENCE_NS / addition_ns(run)
        serials[run["batch"]] = min(1.0, busiest / spent) if spent and busiest else 1.0
    return line_of(points, serials[max(serials)])
