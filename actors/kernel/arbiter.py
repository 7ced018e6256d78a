"""Who gets a call that several participants of one workflow may want: pure, for any number.

A verdict is made when every participant that the call reaches has bid, or has passed the place.
It counts once it is kept (`Store.decide`), where the first one kept is the one that counts: two
arbiters at once, or one that forgot everything, do no harm.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from raysume.actors.kernel.bids import ANY_VERSION, Bid, Verdict
from raysume.actors.kernel.records import Place


@dataclass(slots=True, kw_only=True)
class _Open:
    """A call without verdict."""

    partition: int
    method: str
    bids: dict[str, Bid] = field(default_factory=dict[str, Bid])
    """By participant."""


@dataclass(slots=True, kw_only=True)
class Participant:
    """A kernel whose bids count."""

    version: str
    methods: Collection[str]
    """URNs whose calls reach it."""
    shards: Collection[int] = ()
    """That it owns, as far as is known; all of them have to be spoken for."""
    marks: Mapping[int, int] = field(default_factory=dict[int, int])
    """partition -> offset below which it has dealt with every call, as far as it told."""


class Arbiter:
    """The calls of one workflow without verdict, and who bid for them."""

    def __init__(self) -> None:
        self.participants: dict[str, Participant] = {}
        """By name: all that run, or are being brought back."""
        self._versions: dict[str, str] = {}
        """Participant -> version, of all that ever bid."""
        self._open: dict[Place, _Open] = {}

    def bid(self, participant: str, version: str, bid: Bid) -> None:
        """The bid counts. The same one may come again."""
        self._versions[participant] = version
        opened = self._open.get(bid.place)
        if opened is None:
            opened = self._open[bid.place] = _Open(partition=bid.partition, method=bid.method)
        before = opened.bids.get(participant)
        if before is None or not set(bid.shards) < set(before.shards):  # else it comes late
            opened.bids[participant] = bid

    def stands(self, participant: str, marks: Mapping[int, int]) -> None:
        """The participant has dealt with every call below these offsets (by partition)."""
        known = self.participants.get(participant)
        if known is not None:
            known.marks = marks

    def missing(self) -> dict[str, list[tuple[int, int]]]:
        """Participant -> places (partition, offset) for which others bid and it did not."""
        found: dict[str, list[tuple[int, int]]] = {}
        for place, opened in self._open.items():
            for name in self._awaited(place, opened):
                found.setdefault(name, []).append((opened.partition, place[1]))
        return found

    def verdicts(self) -> list[Verdict]:
        """The verdicts that can be made now; each counts from when it is kept."""
        return [
            self._verdict(place, opened)
            for place, opened in sorted(self._open.items())
            if not self._awaited(place, opened)
        ]

    def settled(self, verdicts: Iterable[Verdict]) -> None:
        """These are kept: nobody needs to bid any more."""
        for verdict in verdicts:
            self._open.pop(verdict.place, None)

    def _awaited(self, place: Place, opened: _Open) -> list[str]:
        return [
            name
            for name, one in self.participants.items()
            if not self._has_bid(name, one, opened)
            and opened.method in one.methods
            and one.marks.get(opened.partition, 0) <= place[1]
        ]

    def _has_bid(self, name: str, one: Participant, opened: _Open) -> bool:
        """Whether the participant has bid, for every shard that it owns now.

        Whoever had a shard before may have spoken for it: it stood before the call with it.
        """
        if name not in opened.bids:
            return False
        spoken = {
            shard
            for other, bid in opened.bids.items()
            if self._versions[other] == one.version
            for shard in bid.shards
        }
        return spoken.issuperset(one.shards)

    def _verdict(self, place: Place, opened: _Open) -> Verdict:
        bids = sorted(opened.bids.items())
        waits = [bid.waits_since for _, bid in bids if bid.waits_since is not None]
        longest = min(waits, default=None)
        is_taken = longest is not None or any(bid.takes for _, bid in bids)
        starter = None
        if not is_taken:
            starters = [name for name, bid in bids if bid.starts]
            if starters:
                starter = self._versions[starters[-1]]
            elif not any(bid.knows_starts for _, bid in bids):
                starter = ANY_VERSION
        return Verdict(
            pos=place[0],
            offset=place[1],
            is_taken=is_taken,
            winner=None if longest is None else longest[1],
            starter=starter,
        )
