"""Plots of the results that are kept, as SVG: equal results give equal files."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from scale_tests.kept_results import Results, addition_ns
from scale_tests.model import Setting, best, expected, latency_ms
from scale_tests.model_checks import on_usual_machine
from scale_tests.result_tables import CORES
from scale_tests.stage_costs import REFERENCE_NS, costs_of, stages, whole_processes

Draw = Callable[[Results, Any], bool]
"""Draws into a figure; False: there are no results for it."""

_STYLE: Final[Mapping[str, Any]] = {
    "svg.hashsalt": "raysume",  # ids within the file
    "svg.fonttype": "none",
    "figure.figsize": (8.0, 4.5),
    "figure.constrained_layout.use": True,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "font.family": "sans-serif",
    "font.size": 10,
}

# The types of matplotlib's own methods are too partial to check against.
_matplotlib: Any = importlib.import_module("matplotlib")
_figures: Any = importlib.import_module("matplotlib.figure")


def draw(results: Results, folder: Path) -> tuple[list[str], list[str]]:
    """The plots are in the folder; the names of those, and of those for which there are no results.

    A plot for which there are none is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made: list[str] = []
    missing: list[str] = []
    for name, plot in PLOTS.items():
        file = folder / f"{name}.svg"
        with _matplotlib.rc_context(_STYLE):
            figure = _figures.Figure()
            if plot(results, figure):
                figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
                made.append(name)
                continue
        file.unlink(missing_ok=True)
        missing.append(name)
    return made, missing


# --- costs -------------------------------------------------------------------------


def _stages(results: Results, figure: Any) -> bool:
    found = stages(results)
    if not found:
        return False
    figure.set_size_inches(8.0, 1.0 + 0.3 * len(found))
    axes = figure.add_subplot()
    names = [f"{one.process}: {one.name}" for one in found]
    bars = axes.barh(range(len(found)), [one.us for one in found], color=_by_process(found))
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.set_yticks(range(len(found)), names)
    axes.invert_yaxis()
    axes.set_xlabel(f"us of CPU a call, at {REFERENCE_NS:.0f} ns an addition")
    axes.set_title("What each stage costs a call")
    return True


def _by_process(found: Sequence[Any]) -> list[str]:
    kinds = list(dict.fromkeys(one.process for one in found))
    return [f"C{kinds.index(one.process) % 10}" for one in found]


def _processes(results: Results, figure: Any) -> bool:
    found = whole_processes(results)
    if not found:
        return False
    axes = figure.add_subplot()
    bars = axes.bar([one.process for one in found], [one.measured_us for one in found])
    axes.bar_label(bars, fmt="%.1f")
    axes.tick_params(axis="x", rotation=30)
    axes.set_ylabel(f"us of CPU a call, at {found[0].addition_ns:.0f} ns an addition")
    axes.set_title("CPU by kind of process")
    return True


# --- growth ------------------------------------------------------------------------


def _waits(results: Results, figure: Any) -> bool:
    line = results.newest("active_waits")
    if line is None:
        return False
    axes = figure.add_subplot()
    for case, figures in (
        ("keyed", ("match_us", "call_us", "any_call_us")),
        ("keyless", ("match_us",)),
        ("keyless_shared", ("match_us",)),
    ):
        by_size: Mapping[str, Mapping[str, float]] = line.get(case, {})
        sizes = [int(size) for size in by_size]
        for name in figures:
            axes.plot(sizes, [one[name] for one in by_size.values()], "o-", label=f"{case} {name}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("instances that wait")
    axes.set_ylabel(f"us of CPU a call, at {addition_ns(line):.0f} ns an addition")
    axes.set_title("Cost of a call by the number of waits")
    axes.legend()
    return True


def _growth(results: Results, figure: Any) -> bool:
    line = results.newest("growth_costs")
    if line is None:
        return False
    both = figure.subplots(1, 2)
    for axes, kind in zip(both, ("members", "versions"), strict=True):
        by_number: Mapping[str, Mapping[str, float]] = line[kind]
        numbers = [int(one) for one in by_number]
        for name, label in (("all_us", "all together"), ("busiest_us", "the busiest one")):
            axes.plot(numbers, [one[name] for one in by_number.values()], "o-", label=label)
        axes.set_xlabel({"members": "members of the pool", "versions": "versions"}[kind])
        axes.set_xticks(numbers)
        axes.set_ylim(bottom=0)
        axes.legend()
    both[0].set_ylabel(f"us of CPU a call, at {addition_ns(line):.0f} ns an addition")
    figure.suptitle("Cost of a call by members and by versions")
    return True


def _recovery(results: Results, figure: Any) -> bool:
    lines = sorted(results.newest_by("recovery", "waits"), key=lambda line: int(line["waits"]))
    if not lines:
        return False
    axes = figure.add_subplot()
    waits = [line["waits"] for line in lines]
    for name in ("first_call_s", "all_s"):
        axes.plot(waits, [line[name] for line in lines], "o-", label=name)
    axes.set_xlabel("instances that wait")
    axes.set_ylabel("seconds from kill -9")
    axes.set_ylim(bottom=0)
    axes.set_title("Recovery by the number of waits")
    axes.legend()
    return True


# --- the model ---------------------------------------------------------------------


def _throughput(results: Results, figure: Any) -> bool:
    costs = costs_of(results)
    if costs is None:
        return False
    axes = figure.add_subplot()
    many = {"members": range(1, 17), "replicas": range(1, 9)}
    rates = [best(costs, on_usual_machine(cores), **many)[1].per_s for cores in CORES]
    axes.plot(CORES, rates, "o-", label="best members and replicas")
    single = [expected(costs, on_usual_machine(cores)).per_s for cores in CORES]
    axes.plot(CORES, single, "s--", label="one member, one replica")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(CORES, [str(cores) for cores in CORES])
    axes.set_xlabel(f"cores, at {REFERENCE_NS:.0f} ns an addition")
    axes.set_ylabel("calls/s")
    bound = f" (a bound: without {', '.join(costs.missing)})" if costs.missing else ""
    axes.set_title(f"Expected calls/s{bound}")
    axes.legend()
    return True


def _latency(results: Results, figure: Any) -> bool:
    costs = costs_of(results)
    if costs is None:
        return False
    axes = figure.add_subplot()
    for cores, members in ((2, 1), (8, 4)):
        setting: Setting = on_usual_machine(cores, members=members, batch=100)
        most = expected(costs, setting).per_s
        loads = [most * part / 50 for part in range(1, 49)]
        values = [latency_ms(costs, setting, load) for load in loads]
        axes.plot(loads, values, label=f"{cores} cores, members: {members}")
    axes.set_yscale("log")
    axes.set_xlabel("calls/s offered, 100 a request")
    axes.set_ylabel("mean ms until committed")
    axes.set_title("Expected latency by load")
    axes.legend()
    return True


PLOTS: Final[Mapping[str, Draw]] = {
    "stages": _stages,
    "processes": _processes,
    "waits": _waits,
    "growth": _growth,
    "recovery": _recovery,
    "throughput": _throughput,
    "latency": _latency,
}
"""Name of a plot -> what draws it."""
