"""Calls that kill: a turn that ends the process of its pool fails its instance, and nothing else.

Code of a workflow can end the process without any exception (`os._exit`, a crash in an
extension, memory used up). The pool comes back, applies the same call again, and dies again.
So every incarnation leaves a note of where it began, before it applies anything. Where
several in a row began at the same place and came no further, turns are watched: the instance
is noted, durably, before each turn, and the note is taken back after it. An instance that
stood noted when two processes in a row had ended is the culprit: its turn is not taken, and
it becomes `failed` with its call kept. With the first commit the place is passed, and watching
ends. A pool that does not die pays for one note at each start, and nothing for a call.

What ends the process in a step, or in a turn behind an ordinary `await`, is found by `trials`.
"""

from __future__ import annotations

from typing import Self

import msgspec
import structlog

from raysume import limits
from raysume.actors.journaling import PoolJournal
from raysume.actors.kernel.kernel import Kernel
from raysume.crash_points import crash_point
from raysume.errors import ProcessEnded
from raysume.storage.ports import Store

_KIND = "quarantine"

_log = structlog.get_logger("raysume.pool")


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What an incarnation leaves for the one after it."""

    place: int
    """How much was durable when it began (`PoolJournal.length`)."""
    began: int
    """Incarnations that began there, this one included."""
    suspect: str | None = None
    """The instance that is in a watched turn."""
    former: str | None = None
    """The instance in whose watched turn a process ended last."""
    deaths: int = 0
    """Processes in a row that ended in turns of `former`."""
    culprits: tuple[str, ...] = ()
    """Instances that were found at this place: none of them is durably failed yet."""


class Quarantine:
    """Watches the turns of a kernel where its process has died before.

    Args:
        store: where notes are kept.
        kernel: whose turns are watched; it has recovered and taken none.
        journal: which says how much is durable.
    """

    def __init__(self, store: Store, kernel: Kernel, journal: PoolJournal) -> None:
        self._store, self._kernel, self._key = store, kernel, journal.name
        self._is_watching = False
        body = store.get_document(_KIND, self._key)
        found = None if body is None else msgspec.msgpack.decode(body, type=Note)
        self.died_in_turn = found is not None and found.suspect is not None
        """Whether the process before this one ended in a turn that was watched."""
        self._note = self._after(found, journal.length)
        self._keep(self._note)
        if self._note.began > limits.QUARANTINE_DEATHS:
            self._is_watching = True
            kernel.guard = self
            _log.warning(
                "turns_are_watched",
                pool=self._key,
                began=self._note.began,
                culprits=self._note.culprits,
            )

    @classmethod
    def of(cls, store: Store, kernel: Kernel, journal: PoolJournal) -> Self | None:
        """The one of these shards; None when there are none yet."""
        return cls(store, kernel, journal) if kernel.shards else None

    def has_moved(self) -> None:
        """Something is durable that was not: this place is passed."""
        if self._is_watching:
            self._is_watching = False
            self._kernel.guard = None
            _log.info("turns_are_not_watched_any_more", pool=self._key)

    def _after(self, found: Note | None, place: int) -> Note:
        if found is None or found.place != place:
            return Note(place=place, began=1)
        former, deaths, culprits = found.former, found.deaths, found.culprits
        if found.suspect is not None:
            deaths = deaths + 1 if found.suspect == former else 1
            former = found.suspect
        if former is not None and deaths >= limits.QUARANTINE_TURN_DEATHS:
            culprits, former, deaths = (*culprits, former), None, 0
        return Note(
            place=place, began=found.began + 1, former=former, deaths=deaths, culprits=culprits
        )

    def begins(self, instance: str) -> Exception | None:
        """The instance is noted before its turn; the turn of a culprit is not taken."""
        if instance in self._note.culprits:
            _log.error("instance_ends_the_process", pool=self._key, instance=instance)
            return ProcessEnded(
                f"the process of the pool ended again and again in this turn of instance {instance!r}, "
                "without any exception: os._exit, a crash in an extension, or no memory left. "
                "Correct the code and deploy it; a retry takes the same call again.",
                process="pool",
            )
        self._keep(msgspec.structs.replace(self._note, suspect=instance))
        crash_point("after_suspect_noted")
        return None

    def ended(self) -> None:
        """The turn did not end the process: nobody is under suspicion."""
        self._keep(self._note)

    def _keep(self, note: Note) -> None:
        self._store.put_document(_KIND, self._key, msgspec.msgpack.encode(note))
