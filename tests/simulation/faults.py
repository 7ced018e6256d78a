"""What goes wrong in one run, and how often."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Self

from raysume.crash_points import POINTS
from raysume.records import Segment

ARE_ORDERED = "after" in Segment.__struct_fields__
"""Whether segments say what of other partitions comes before them: without that, calls accepted by
two replicas that live at once have no order, and only one may live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Rates are chances for each time that it could happen. The defaults: nothing goes wrong."""

    crash: float = 0.0
    """A process dies at a crash point."""
    point: str = ""
    """The crash point at which processes die most in this run."""
    favourite: float = 0.0
    """How often they do."""
    lost: float = 0.0
    """A message, or its answer, never comes."""
    late: float = 0.0
    """It takes seconds."""
    doubled: float = 0.0
    """It comes twice."""
    slow: float = 0.0
    """A thread's work takes seconds to begin, or to be heard of."""
    overtaking: float = 0.0
    """Another process gets to the store first."""
    store_away: float = 0.0
    """The store is away, and does nothing."""
    outcome_lost: float = 0.0
    """The store does it, and is away before it says so."""
    pause_s: float = 0.0
    """Seconds between two pauses of some process; 0: none pauses."""
    kill_s: float = 0.0
    """Seconds that a process lives before it is killed at any moment; 0: none is."""
    replica_pause_s: float = 0.0
    """The same for ingress replicas, which go on beside their successors."""
    replicas: int = 1
    """Ingress replicas."""
    delivery: int = 1_000
    """Calls in one delivery, at most."""
    batch: int = 5_000
    """Events in one batch of a pool, at most."""
    resize_s: float = 0.0
    """Seconds between two times that some pool is resized, to 1 to 4 members, by a directory that
    dies as others do; 0: pools have one member, which takes its shards itself."""

    @classmethod
    def of(cls, seed: int, rng: random.Random) -> Self:
        """The faults of a run: each kind is there often, often or never."""

        def rate(*choices: float) -> float:
            return rng.choice((0.0, *choices))

        names = sorted(POINTS)
        return cls(
            crash=rate(0.002, 0.01),
            point=names[seed % len(names)],
            favourite=rate(0.1, 0.3),
            lost=rate(0.02, 0.2),
            late=rate(0.02, 0.2),
            doubled=rate(0.05, 0.3),
            slow=rate(0.01, 0.1),
            overtaking=rate(0.1, 0.5),
            store_away=rate(0.002, 0.02),
            outcome_lost=rate(0.005, 0.03),
            pause_s=rate(3.0, 15.0),
            kill_s=rate(3.0, 15.0),
            replica_pause_s=rate(5.0, 20.0) * ARE_ORDERED,
            replicas=rng.choice((1, 2)) if ARE_ORDERED else 1,
            delivery=rng.choice((1, 3, 1_000)),
            batch=rng.choice((1, 3, 5_000)),
            resize_s=random.Random(f"resizing {seed}").choice((0.0, 0.0, 3.0, 12.0)),
        )
