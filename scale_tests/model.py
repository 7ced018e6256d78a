"""From what each stage costs to what an engine should take, on this machine or on a bigger one.

Pure: everything is given. The costs are of one machine, and count in proportion to how fast a
machine adds (`addition_ns`). docs/performance.md says what is assumed, and where it ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from raysume import limits

UPSTREAM: Final = ("generator", "proxy", "ingress")
"""What a call goes through until it is accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Microseconds of CPU of one kind of process."""

    call_us: float
    """For each call."""
    request_us: float = 0.0
    """For each request, whatever is in it."""
    serial: float = 1.0
    """The part of it that one process cannot do beside itself: that of its busiest thread."""

    def at(self, batch: int) -> float:
        """For one call of a request with so many."""
        return self.call_us + self.request_us / batch


NOTHING: Final = Cost(call_us=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What was measured, on one machine."""

    addition_ns: float
    pool: Cost
    """Of the member of the pool that takes the call."""
    member_us: float = 0.0
    """Of every other member: the call is not for it."""
    version_us: float = 0.0
    """Of every older version that awaits the method, too."""
    generator: Cost = NOTHING
    proxy: Cost = NOTHING
    ingress: Cost = NOTHING
    others: Cost = NOTHING
    """Of Ray's own processes, the directory, the database server."""
    commit_ms: float = 0.0
    """How long one transaction of the call log takes, fsync included, whatever is in it. That is the
    disk's: no CPU makes it faster."""
    append_us: float = 0.0
    """By how much longer it takes for each call in it."""
    missing: tuple[str, ...] = ()
    """Kinds that nobody has measured: they count as nothing, and all that is expected is too much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A machine, the engine on it, and how calls come."""

    cores: int
    addition_ns: float
    members: int = 1
    """Of the pool."""
    replicas: int = 1
    """Of the ingress."""
    versions: int = 1
    """Of the workflow; older ones have a member each."""
    batch: int = 500
    connections: int = 4
    log_is_shared: bool = True
    """All replicas write to one file, one after the other (SQLite); False: beside each other."""
    has_generator: bool = True
    """Whether the load generator runs on these cores, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the model says."""

    per_s: float
    """Calls a second, in the long run."""
    saturated: str
    """What is then used up: the name of the least limit."""
    limits: Mapping[str, float]
    """Calls a second that each part would take alone."""


def cpu_us(costs: Costs, setting: Setting) -> dict[str, float]:
    """Microseconds of CPU for one call, by kind of process: of all processes of the kind together."""
    speed = setting.addition_ns / costs.addition_ns
    others = (setting.members - 1) * costs.member_us
    found = {
        "generator": costs.generator.at(setting.batch) if setting.has_generator else 0.0,
        "proxy": costs.proxy.at(setting.batch),
        "ingress": costs.ingress.at(setting.batch),
        "pool": costs.pool.at(setting.batch) + others,
        "older versions": (setting.versions - 1) * costs.version_us,
        "others": costs.others.at(setting.batch),
    }
    return {kind: us * speed for kind, us in found.items()}


def alone_per_s(costs: Costs, setting: Setting) -> dict[str, float]:
    """Calls a second that each part would take if all others were free."""
    spent = cpu_us(costs, setting)
    in_flight = setting.connections * setting.batch
    segment = min(max(setting.batch, in_flight / setting.replicas), limits.APPEND_CALLS_MAX)
    writers = 1 if setting.log_is_shared else setting.replicas
    appending = append_ms(costs, segment)
    return {
        "cores": _per_s(sum(spent.values()), setting.cores),
        "pool member": _per_s(spent["pool"] * costs.pool.serial, setting.members),
        "ingress replica": _per_s(spent["ingress"] * costs.ingress.serial, setting.replicas),
        "proxy": _per_s(spent["proxy"] * costs.proxy.serial, 1),
        "call log": segment * writers / appending * 1e3 if appending else math.inf,
        "connections": in_flight / accepted_ms(costs, setting) * 1e3,
    }


def _per_s(us: float, processes: int) -> float:
    return processes / us * 1e6 if us else math.inf


def append_ms(costs: Costs, calls: float) -> float:
    """Milliseconds that one transaction of the call log takes with so many calls."""
    return costs.commit_ms + costs.append_us * calls / 1e3


def accepted_ms(costs: Costs, setting: Setting) -> float:
    """Milliseconds from sending a request to its answer, where nobody else is served."""
    spent = cpu_us(costs, replace(setting, has_generator=True))
    working = sum(spent[kind] for kind in UPSTREAM) * setting.batch / 1e3
    return max(working + append_ms(costs, setting.batch), 1e-9)


def expected(costs: Costs, setting: Setting) -> Expected:
    """How many calls a second the engine takes, and what stands in the way of more."""
    found = alone_per_s(costs, setting)
    saturated = min(found, key=lambda name: found[name])
    return Expected(per_s=found[saturated], saturated=saturated, limits=found)


def latency_ms(costs: Costs, setting: Setting, offered_per_s: float) -> float:
    """Milliseconds from sending a call to the commit of its turn, in the mean, in open loop.

    A request is worked on as a whole, by one kind of process after the other; each takes the
    longer the more it is busy already (as with random arrivals: 1 / (1 - utilisation)), or the
    cores are. Two commits come on top: that of the call log, and that of the pool. What Ray takes
    to carry a call from one process to the next is not in it.

    Returns:
        Infinity where more is offered than the engine takes.
    """
    alone = alone_per_s(costs, setting)
    del alone["connections"]  # who sends in open loop waits for no answer
    if offered_per_s >= min(alone.values()):
        return math.inf
    spent = cpu_us(costs, replace(setting, members=1))
    cores = offered_per_s / alone["cores"]
    stations = {"ingress": "ingress replica", "proxy": "proxy", "pool": "pool member"}
    total = append_ms(costs, setting.batch) + costs.commit_ms
    for kind in (*UPSTREAM, "pool"):
        us, station = spent[kind], stations.get(kind)
        busy = cores if station is None else max(cores, offered_per_s / alone[station])
        total += us * setting.batch / 1e3 / (1 - busy)
    return total


def under_way(offered_per_s: float, latency: float) -> float:
    """How many calls are between being sent and being committed, in the mean: Little's law.

    Args:
        latency: milliseconds, in the mean.
    """
    return offered_per_s * latency / 1e3


def best(
    costs: Costs, setting: Setting, *, members: Iterable[int], replicas: Iterable[int]
) -> tuple[Setting, Expected]:
    """The fewest members and replicas with which the engine takes most."""
    tried = [
        (chosen, expected(costs, chosen))
        for chosen in (
            replace(setting, members=m, replicas=r) for m in members for r in sorted(replicas)
        )
    ]
    most = max(one.per_s for _, one in tried)
    good = [(chosen, one) for chosen, one in tried if one.per_s >= most * 0.999]
    return min(good, key=lambda one: (one[0].members + one[0].replicas, one[0].members))


def line_of(points: Mapping[int, float], serial: float = 1.0) -> Cost:
    """What a call and a request cost, from what a call costs in requests of two or more sizes.

    Args:
        points: calls in a request -> microseconds for each call; one size: all of it counts as
            the call's.
    """
    least, most = min(points), max(points)
    if least == most:
        return Cost(call_us=points[most], serial=serial)
    request = (points[least] - points[most]) / (1 / least - 1 / most)
    request = max(0.0, request)
    return Cost(call_us=max(0.0, points[most] - request / most), request_us=request, serial=serial)
