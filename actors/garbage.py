"""Garbage collection in the processes that calls go through: seldom, and not of what stays."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager

from raysume import limits


@contextmanager
def no_collection() -> Generator[None, None, None]:
    """Nobody looks for cycles meanwhile: for making very many objects that all stay.

    A recovery takes a third less time so.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def collect_seldom() -> None:
    """What is in memory now is never looked at again, and what comes after a thousand calls or so.

    Almost everything is freed as soon as nobody refers to it. Looking for cycles as often as
    Python usually does takes a quarter of the time of a busy pool: it holds hundreds of thousands
    of objects, of which each call makes some dozens more that live until they are durable.
    """
    gc.freeze()
    gc.set_threshold(*limits.GARBAGE_THRESHOLDS)
