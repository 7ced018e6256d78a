"""What participants of one workflow tell each other about a call that several of them may want.

A participant is a kernel: a member of a pool, or the pool of another version. Everything here
is plain data in MessagePack: it travels, and it is kept.
"""

from __future__ import annotations

from typing import Final

import msgspec

ANY_VERSION: Final = "*"
"""The starter of a call that nobody took while no version said that it may start with it."""


class Bid(msgspec.Struct, array_like=True, frozen=True):
    """What a participant, as it stands before a call, would do with it."""

    partition: int
    offset: int
    pos: int
    method: str
    takes: bool
    """Whether a wait of a running instance matches that is not exclusive."""
    waits_since: tuple[int, str] | None
    """Of the exclusive wait that waits longest here: its order of registration, its instance."""
    starts: bool
    """Whether the version's start wait matches, and the call falls into its time as the active one."""
    knows_starts: bool
    """Whether `starts` is all there is to say: no other version could start an instance with it."""
    participant: str = ""
    """Whose bid it is: a shard may come to another participant while the bid is out."""
    shards: tuple[int, ...] = ()
    """For which it speaks: a participant that gets another one bids again."""

    @property
    def place(self) -> tuple[int, int]:
        """The call's place in the order of all calls."""
        return (self.pos, self.offset)


class Verdict(msgspec.Struct, array_like=True, frozen=True):
    """Who gets a call. Each participant acts on it alone; once kept, it never changes."""

    pos: int
    offset: int
    is_taken: bool
    """Whether running instances get it: every one with a matching wait that is not exclusive,
    and `winner`."""
    winner: str | None
    """The instance whose exclusive wait gets it."""
    starter: str | None
    """The version whose start wait gets it. `ANY_VERSION`: of the version whose time it falls into,
    if it matches; the call is in no mailbox either way. None: no instance is started."""

    @property
    def place(self) -> tuple[int, int]:
        """The call's place in the order of all calls."""
        return (self.pos, self.offset)


class Claim(msgspec.Struct, array_like=True, frozen=True):
    """An exclusive wait that looks back has found a call, which is its own if nobody was faster."""

    instance: str
    wait: str
    pos: int
    offset: int


class Regime(msgspec.Struct, frozen=True, kw_only=True):
    """From a boundary in the log on, calls of these methods need a verdict."""

    begins: dict[int, int]
    """partition -> offset of the first call that does; 0 where a partition is not there."""
    methods: frozenset[str]
    starts: frozenset[str]
    """Those with which the version that is active from then on may start instances."""

    def covers(self, partition: int, offset: int) -> bool:
        """Whether the call at this place lies behind the boundary."""
        return offset >= self.begins.get(partition, 0)
