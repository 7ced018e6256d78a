"""The office of the directory: of two that live at once, only the newer one changes anything.

A directory whose node was cut off goes on beside the one that Ray started in its place. The
newer one has taken the office when it began, so whatever the older one writes is refused, and
members obey no order of it once they have had one of its successor (ADR 17).
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable

import structlog

from raysume.actors.specs import DIRECTORY_OFFICE, Order
from raysume.errors import Fenced
from raysume.storage.ports import Office, Store

_log = structlog.get_logger("raysume.directory")


class HeldOffice:
    """The office as one directory holds it, from when this is made until another one begins.

    Args:
        store: where the office is taken.
        owner: this process, as `Store.take_office` takes it.
        lost: called, in any thread, as soon as it shows that another directory holds the office.

    Raises:
        StoreUnavailable: it was not taken, or it is not known; retry.
    """

    def __init__(self, store: Store, *, owner: str, lost: Callable[[], None]) -> None:
        self._office = store.take_office(DIRECTORY_OFFICE, owner=owner)
        self._lost = lost
        self._numbers = itertools.count(1)
        self.store = store.under(self._office, lost=lost)
        """Whatever the directory writes, it writes here."""

    @property
    def epoch(self) -> int:
        """Higher than those of all directories before."""
        return self._office.epoch

    def next_order(self) -> Order:
        """The number of an order to a member, higher than all before."""
        return self.epoch, next(self._numbers)

    def confirm(self) -> None:
        """No other directory had begun a moment ago. It reads the store.

        Raises:
            Fenced: one has.
            StoreUnavailable: it is not known; ask again.
        """
        try:
            self.store.check_office(self._office)
        except Fenced:
            self._lost()
            raise


def store_under(store: Store, office: Office | None) -> Store:
    """The store, for writing what whoever holds the office has ordered; None: nobody has."""
    return store if office is None else store.under(office)


def end_replaced_process() -> None:
    """This process, a directory that has a successor, ends at once.

    If Ray takes it for the one that counts (its successor may be the process that was cut off, and
    was only late to begin), Ray starts it again, and it takes the office anew.
    """
    _log.error("directory_replaced", pid=os.getpid(), remedy="none: its successor goes on")
    sys.stderr.flush()
    os._exit(1)
