"""From rounds to medians, spreads and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from scale_tests.peers.measuring import Round

OURS: Final = "raysume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One of the figures that are compared."""

    key: str
    """Of its ratio, which ends with `_ratio`."""
    unit: str
    """What its own name ends with, after the key; may be empty."""
    more_is_better: bool = False

    @property
    def name(self) -> str:
        """As rounds have it."""
        return f"{self.key}_{self.unit}" if self.unit else self.key

    def best(self, found: Mapping[str, float]) -> str | None:
        """Whose figure is the best; None when nobody has one above 0."""
        usable = {name: value for name, value in found.items() if value > 0}
        if not usable:
            return None
        return (max if self.more_is_better else min)(usable, key=usable.__getitem__)


FIGURES: Final = (
    Figure(key="resumed_per_s", unit="", more_is_better=True),
    Figure(key="accepted_per_s", unit="", more_is_better=True),
    Figure(key="cpu_per_event", unit="us"),
    Figure(key="latency_p50", unit="ms"),
    Figure(key="latency_p99", unit="ms"),
    Figure(key="memory_per_instance", unit="bytes"),
    Figure(key="disk_per_instance", unit="bytes"),
    Figure(key="long_events_per_s", unit="", more_is_better=True),
    Figure(key="long_wake", unit="ms"),
    Figure(key="recovery", unit="s"),
)


def summary(rounds: Sequence[Round]) -> dict[str, Any]:
    """Each figure of one system: median, spread, all rounds; and what it refused or failed at."""
    figures: dict[str, Any] = {}
    for figure in FIGURES:
        values = [one.figures[figure.name] for one in rounds if figure.name in one.figures]
        if values:
            figures[figure.name] = {
                "median": round(statistics.median(values), 4),
                "spread": [min(values), max(values)],
                "rounds": values,
            }
    told: dict[str, Any] = {"figures": figures}
    for kind in ("refused", "failed"):
        reasons = sorted({reason for one in rounds if (reason := getattr(one, kind))})
        if reasons:
            told[kind] = reasons
    return told


def ratios(found: Mapping[str, Sequence[Round]]) -> dict[str, Any]:
    """For each figure ours divided by that of the best peer, by medians and in each round.

    None where one of the two is missing, or is not above 0: too small a run to tell.
    """
    told: dict[str, Any] = {}
    best_peers: dict[str, str | None] = {}
    for figure in FIGURES:
        medians: dict[str, float] = {}
        for name, rounds in found.items():
            values = [one.figures[figure.name] for one in rounds if figure.name in one.figures]
            if values:
                medians[name] = statistics.median(values)
        key = f"{figure.key}_ratio"
        told[key] = _ratio(figure, medians)
        told[f"{key}_rounds"] = [_ratio(figure, values) for values in _by_round(figure, found)]
        best_peers[figure.key] = figure.best(_without_ours(medians))
    return told | {"best_peer": best_peers}


def _by_round(figure: Figure, found: Mapping[str, Sequence[Round]]) -> list[dict[str, float]]:
    count = max((len(rounds) for rounds in found.values()), default=0)
    return [
        {
            name: rounds[number].figures[figure.name]
            for name, rounds in found.items()
            if number < len(rounds) and figure.name in rounds[number].figures
        }
        for number in range(count)
    ]


def _ratio(figure: Figure, values: Mapping[str, float]) -> float | None:
    best = figure.best(_without_ours(values))
    ours = values.get(OURS, 0.0)
    return round(ours / values[best], 4) if best is not None and ours > 0 else None


def _without_ours(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if name != OURS}
