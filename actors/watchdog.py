"""Reports a turn that blocks the event loop of its pool, with the stack where it stands.

Turns share one event loop: while one computes, or waits for the network without `await`,
no other instance of the pool takes a turn, and nothing is delivered.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from types import FrameType

import structlog

from raysume import limits
from raysume.actors.kernel import driving
from raysume.actors.kernel.turns import InstanceTurn

_DRIVERS = {driving.run_inline.__code__, driving.run_as_task.__code__}

_log = structlog.get_logger("raysume.pool")


class Watchdog:
    """Watches an event loop from a thread of its own; used by the loop's thread.

    Args:
        workflow: whose turns the loop runs.
        after_s: for how long the loop may stand still.
    """

    def __init__(self, workflow: str, *, after_s: float = limits.TURN_BLOCKS_S) -> None:
        self._workflow, self._after_s = workflow, after_s
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="raysume-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Nothing is watched any more."""
        self._stopping.set()

    def _watch(self) -> None:
        while not self._stopping.wait(self._after_s / 2):
            heard, asked_s = threading.Event(), time.monotonic()
            try:
                self._loop.call_soon_threadsafe(heard.set)
            except RuntimeError:
                return  # the loop is closed
            if not heard.wait(self._after_s):
                self._report(time.monotonic() - asked_s)
                heard.wait()
                seconds = round(time.monotonic() - asked_s, 3)
                _log.warning("event_loop_goes_on", workflow=self._workflow, seconds=seconds)

    def _report(self, seconds: float) -> None:
        frame = sys._current_frames().get(self._watched)  # pyright: ignore[reportPrivateUsage]
        _log.warning(
            "turn_blocks_the_event_loop",
            workflow=self._workflow,
            instance=instance_at(frame),
            seconds=round(seconds, 3),
            stack="".join(traceback.format_stack(frame)),
        )


def instance_at(frame: FrameType | None) -> str | None:
    """The instance whose turn runs in the frame or in one that called it; None: there is none."""
    while frame is not None:
        if frame.f_code in _DRIVERS:
            turn = frame.f_locals.get("turn")
            return turn.instance.id if isinstance(turn, InstanceTurn) else None
        frame = frame.f_back
    return None
