"""Which calls of a workflow need a verdict when several of its versions, or members, run.

A call does if an instance may start with it while another one waits for it, or if exclusive
waits may want it. One that instances await only first needs none: its place in the log says
which version starts, and the hash of its id which member.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from raysume.actors.bidding import keep_regimes, regimes_of
from raysume.actors.deployed_workflows import Awaits
from raysume.actors.handover import Boundary
from raysume.actors.kernel.bids import Regime
from raysume.storage.ports import Store


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """What instances of one version may wait for."""

    methods: frozenset[str]
    """URNs of its deployment: it waits for no others."""
    awaits: Awaits | None
    first: frozenset[str] | None
    """Those of its first wait, with which instances start; None: not known."""

    @property
    def named(self) -> frozenset[str]:
        """All for which it may wait."""
        known = self.awaits is not None and self.awaits.named is not None
        return self.awaits.named if known else self.methods  # type: ignore[union-attr, return-value]

    @property
    def later(self) -> frozenset[str]:
        """Those for which instances may wait that have begun."""
        if self.awaits is None or self.first is None:
            return self.named
        return self.named - (self.first & self.awaits.once)

    @property
    def exclusive(self) -> frozenset[str]:
        """Those for which a wait may be exclusive."""
        return self.named if self.awaits is None or self.awaits.is_exclusive else frozenset()


def needed(active: Waiting, others: Iterable[Waiting]) -> tuple[frozenset[str], frozenset[str]]:
    """The methods whose calls need a verdict, and those with which instances start.

    Args:
        active: the version that takes new instances.
        others: every other one that may have instances.
    """
    all_of_them = [active, *others]
    starts = active.named if active.first is None else active.first
    later = frozenset[str]().union(*(one.later for one in all_of_them))
    exclusive = frozenset[str]().union(*(one.exclusive for one in all_of_them))
    return (starts & later) | exclusive, starts


def rule(
    store: Store,
    workflow: str,
    boundary: Boundary,
    *,
    methods: frozenset[str],
    starts: frozenset[str],
    replaces: Regime | None = None,
) -> Regime | None:
    """From the boundary on these calls need a verdict, durably; nobody knows of it yet.

    Args:
        replaces: a regime that this one takes the place of, as nobody has gone beyond it.

    Returns:
        The new regime; None when there was and is none.
    """
    regimes = [one for one in regimes_of(store, workflow) if one != replaces]
    if not regimes and not methods:
        return None
    made = Regime(begins=boundary.offsets, methods=methods, starts=starts)
    keep_regimes(store, workflow, [*regimes, made])
    return made
