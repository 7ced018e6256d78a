"""Why a call did or did not meet a wait: what `explain` answers, here and over HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Literal

import msgspec

from raysume.configuration import written

Stage = Literal[
    "subscribed",
    "local",
    "active",
    "ended",
    "waiting",
    "key",
    "predicate",
    "mailbox",
    "exclusive",
    "met",
]
"""The first thing that failed, in the order in which a call is tried; "met" when nothing did:

- `subscribed`: the workflow awaits no call of the method;
- `local`: the method is `local_only`, and the workflow belongs to another service;
- `active`: the workflow takes no new instances, or running ones came first;
- `ended`: the instance was over, or has failed;
- `waiting`: it was not waiting for the method then;
- `key`, `predicate`: the match says no;
- `mailbox`: it came too early, or was received before;
- `exclusive`: another instance waited longer.
"""

_NEARNESS: tuple[Stage, ...] = (
    *("met", "exclusive", "mailbox", "predicate", "key", "active", "waiting", "ended"),
    *("local", "subscribed"),
)


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a match, with its value on both sides."""

    expression: str
    """As it stands in the source."""
    holds: bool | None
    """None when it could not be evaluated."""
    call: str | None = None
    """The call's value and its type; None when the part has no side of the call alone."""
    wait: str | None = None
    """The wait's value and its type."""
    error: str | None = None
    """What evaluating it raised."""

    def __str__(self) -> str:
        mark = {True: "yes", False: "no ", None: "?  "}[self.holds]
        sides: list[str] = []
        if self.call is not None:
            sides.append(f"call: {self.call}")
        if self.wait is not None:
            sides.append(f"wait: {self.wait}")
        if self.error is not None:
            sides.append(f"raised {self.error}")
        return f"{mark} {self.expression}" + (f"   [{'; '.join(sides)}]" if sides else "")


class WaitExplained(msgspec.Struct, frozen=True, kw_only=True):
    """How far a call came with one wait, or with an instance that has none for it."""

    workflow: str
    version: str
    stage: Stage
    reason: str
    instance: str | None = None
    """None: the workflow's standing first wait."""
    wait: str | None = None
    name: str | None = None
    """The wait's name, when the user gave it one."""
    comparisons: list[Comparison] = []

    @property
    def met(self) -> bool:
        """Whether the call met it, or will."""
        return self.stage == "met"

    def __str__(self) -> str:
        holder = f"instance {self.instance}" if self.instance else "first wait"
        name = f" {self.name!r}" if self.name else ""
        lines = [f"{self.workflow}@{self.version}, {holder}{name}: {self.stage}: {self.reason}"]
        return "\n".join([*lines, *(f"    {one}" for one in self.comparisons)])


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a call, wait by wait: what it met first, then the nearest misses."""

    call: str
    method: str
    summary: str
    waits: list[WaitExplained] = []

    @property
    def met(self) -> bool:
        """Whether it met any of the waits looked at."""
        return any(wait.met for wait in self.waits)

    def __iter__(self) -> Iterator[WaitExplained]:
        return iter(self.waits)

    def __str__(self) -> str:
        return "\n".join([f"call {self.call} of {self.method}: {self.summary}", *map(str, self)])


def keeping_calls(retention: timedelta) -> str:
    """How long calls are kept, for messages about one that is not there."""
    return f"as calls are {written(retention)} after they were accepted (call_retention)"


def nearest_first(waits: Iterable[WaitExplained], limit: int) -> list[WaitExplained]:
    """The waits that the call came nearest to."""

    def distance(one: WaitExplained) -> tuple[int, float]:
        total = len(one.comparisons)
        failed = sum(comparison.holds is not True for comparison in one.comparisons)
        return _NEARNESS.index(one.stage), failed / total if total else 0.0

    return sorted(waits, key=distance)[:limit]


def explanation(
    call: str, method: str, waits: Iterable[WaitExplained], *, limit: int
) -> Explanation:
    """Everything said about a call, in one answer."""
    found = nearest_first(waits, limit)
    met = sum(one.met for one in found)
    if met:
        summary = f"met {met} wait{'s' if met > 1 else ''}."
    elif not found:
        summary = (
            "no deployed workflow awaits this method. Deploy one that does, or push the call "
            "under the method that it awaits."
        )
    else:
        summary = f"met no wait; the nearest: {found[0].reason}"
    return Explanation(call=call, method=method, summary=summary, waits=found)
