"""What the model says, beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from scale_tests.kept_results import Results, addition_ns, cores_of, is_on_sqlite
from scale_tests.model import NOTHING, Cost, Costs, Setting, expected, latency_ms, under_way
from scale_tests.stage_costs import REFERENCE_NS, ingress_cost, plain_runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One measured point."""

    what: str
    measured: float
    expected: float
    why: str
    """What the model says is used up, or what it leaves out."""
    has_given: bool
    """Whether costs of the same run are in the model: then only its sums are checked."""

    @property
    def ratio(self) -> float:
        """Measured to expected; below 1: the model promises too much."""
        return self.measured / self.expected


def throughput_checks(results: Results, costs: Costs) -> list[Check]:
    """Calls a second, measured and expected."""
    return [*_of_kernels(results), *_of_ingress(results, costs), *_of_engine(results, costs)]


def _of_kernels(results: Results) -> Iterator[Check]:
    """Members of a pool by themselves, without Ray: the one that does most is the limit."""
    line = results.newest("growth_costs")
    if line is None or "1" not in line["members"]:
        return
    alone = Costs(
        addition_ns=addition_ns(line),
        pool=Cost(call_us=line["members"]["1"]["all_us"]),
        member_us=line["member_us"],
    )
    for number, one in line["members"].items():
        machine = Setting(cores=64, addition_ns=addition_ns(line), members=int(number))
        found = expected(alone, machine)
        yield Check(
            what=f"kernels alone, {number} members",
            measured=1e6 / one["busiest_us"],
            expected=found.per_s,
            why=found.saturated,
            has_given=True,
        )


def _of_ingress(results: Results, costs: Costs) -> Iterator[Check]:
    """The ingress by itself: its load generator's CPU is not known, its cores are not shared."""
    line = results.newest("ingress_costs")
    if line is None:
        return
    alone = replace(costs, ingress=ingress_cost(line), pool=NOTHING)
    alone = replace(alone, generator=NOTHING, proxy=NOTHING, others=NOTHING)
    for load in line["loads"]:
        found = expected(
            alone,
            Setting(
                cores=cores_of(line),
                addition_ns=addition_ns(line),
                batch=load["calls_per_request"],
                connections=load["connections"],
                has_generator=False,
            ),
        )
        yield Check(
            what=f"ingress alone, {load['calls_per_request']} a request, "
            f"{load['connections']} connections",
            measured=load["calls_per_s"],
            expected=found.per_s,
            why=found.saturated,
            has_given=True,
        )


def _of_engine(results: Results, costs: Costs) -> Iterator[Check]:
    given = {id(line) for line in plain_runs(results)}
    names = ("batch", "connections", "members", "replicas", "waits")
    for line in results.newest_by("pushed_calls", *names):
        found = expected(
            costs,
            Setting(
                cores=cores_of(line),
                addition_ns=addition_ns(line),
                members=line.get("members", 1),
                replicas=line.get("replicas", 1),
                batch=line["batch"],
                connections=line["connections"],
                log_is_shared=is_on_sqlite(line),
            ),
        )
        yield Check(
            what=f"engine, {line['waits']:,} waits, {line['batch']} a request, "
            f"{line['connections']} connections, "
            f"{line.get('members', 1)} members, {line.get('replicas', 1)} replicas",
            measured=line["committed_per_s"],
            expected=found.per_s,
            why=found.saturated,
            has_given=id(line) in given,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyCheck:
    """One measured load."""

    what: str
    offered_per_s: float
    measured_ms: float
    expected_ms: float

    @property
    def under_way(self) -> float:
        """Calls between being sent and being committed, of what was measured."""
        return under_way(self.offered_per_s, self.measured_ms)


def latency_checks(results: Results, costs: Costs) -> list[LatencyCheck]:
    """Latency at low load and beside half of what the engine takes, measured and expected."""
    line = results.newest("resume_latency")
    if line is None:
        return []
    machine = Setting(cores=cores_of(line), addition_ns=addition_ns(line))
    loads = (
        ("calls one by one", line["rate"], 1, line["hot_p50_ms"]),
        (
            "beside half load",
            line["half_load_per_s"],
            line["half_load_batch"],
            line["half_load_p50_ms"],
        ),
    )
    return [
        LatencyCheck(
            what=f"{what}, {batch} a request",
            offered_per_s=rate,
            measured_ms=measured,
            expected_ms=latency_ms(costs, replace(machine, batch=batch), rate),
        )
        for what, rate, batch, measured in loads
    ]


def on_usual_machine(
    cores: int, *, members: int = 1, replicas: int = 1, batch: int = 500
) -> Setting:
    """A machine with so many cores of usual speed, the load generator elsewhere."""
    return Setting(
        cores=cores,
        addition_ns=REFERENCE_NS,
        members=members,
        replicas=replicas,
        batch=batch,
        connections=64,
        has_generator=False,
    )
