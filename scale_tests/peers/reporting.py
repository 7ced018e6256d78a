"""What a run prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from scale_tests.peers.comparing import OURS, ratios, summary
from scale_tests.peers.measuring import Round
from scale_tests.peers.peer import Load, Peer

_OF_LOAD: Final = ("instances", "probes", "probes_per_s", "long_events")


def report(
    systems: Sequence[Peer],
    found: Mapping[str, Sequence[Round]],
    skipped: Mapping[str, str],
    load: Load,
) -> dict[str, Any]:
    """Ratios, where there is something to compare; then each system; then what was skipped."""
    told = ratios(found) if OURS in found and len(found) > 1 else {}
    told["systems"] = {
        system.name: {
            "set_up": system.set_up,
            "versions": dict(system.versions),
            **summary(found[system.name]),
        }
        for system in systems
        if system.name in found
    }
    asked = {name: getattr(load, name) for name in _OF_LOAD}
    return told | {"skipped": dict(skipped), "load": asked}


def table(told: Mapping[str, Any]) -> Iterator[str]:
    """The same as lines for reading: ratios first, then the medians of each system."""
    for key, value in told.items():
        if key.endswith("_ratio"):
            best = told["best_peer"][key.removesuffix("_ratio")]
            yield f"{key:<28} {value!s:>10}  (best peer: {best})"
    for name, system in told["systems"].items():
        yield f"\n{name}: {system['set_up']}"
        for key, value in system["figures"].items():
            yield f"  {key:<28} {value['median']:>12}"
        for kind in ("refused", "failed"):
            for reason in system.get(kind, ()):
                yield f"  {kind}: {reason}"
    for name, reason in told["skipped"].items():
        yield f"\n{name} was skipped: {reason}"
