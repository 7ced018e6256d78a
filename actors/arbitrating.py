"""The directory's arbiters, one for each workflow that several kernels run.

A verdict is told once it is kept in the store. All verdicts that can be made at a time are
kept in one transaction for each workflow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from raysume import limits
from raysume.actors.bidding import BidMade, kept_verdicts, verdict_on
from raysume.actors.kernel.arbiter import Arbiter, Participant
from raysume.actors.kernel.bids import Verdict
from raysume.actors.kernel.records import Place
from raysume.errors import RaysumeError, Unavailable
from raysume.storage.ports import Store

_log = structlog.get_logger("raysume.directory")

AskStand = Callable[[str, list[tuple[int, int]]], Awaitable[dict[int, int]]]
"""(participant, places): up to where it has dealt with each partition. It is told of calls at
these places (partition, offset), which it may not have heard of."""


@dataclass(slots=True)
class _OfWorkflow:
    """The arbiter of one workflow, and who waits for its verdicts."""

    arbiter: Arbiter = field(default_factory=Arbiter)
    waiting: dict[Place, asyncio.Future[Verdict]] = field(
        default_factory=dict[Place, asyncio.Future[Verdict]]
    )


class Arbitrators:
    """Takes bids, makes verdicts durable, and tells them.

    Args:
        participants: of a workflow, by name: the version and the methods of all that run, or are
            being brought back.
        ask: asks a participant that did not bid, though others did.
    """

    def __init__(
        self,
        store: Store,
        *,
        participants: Callable[[str], Mapping[str, Participant]],
        ask: AskStand,
    ) -> None:
        self._store, self._participants, self._ask = store, participants, ask
        self._workflows: dict[str, _OfWorkflow] = {}
        self._work = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def bid(self, made: BidMade) -> Verdict:
        """The verdict, which is kept durably.

        Raises:
            Unavailable: others have not bid yet; ask again.
        """
        self._begin()
        bid = made.bid
        known = await asyncio.to_thread(verdict_on, self._store, made.workflow, bid.place)
        if known is not None:
            return known
        of = self._workflows.setdefault(made.workflow, _OfWorkflow())
        waiting = of.waiting.get(bid.place)
        if waiting is None:
            waiting = of.waiting[bid.place] = asyncio.get_running_loop().create_future()
        self._refresh(made.workflow, of)
        of.arbiter.bid(made.participant, made.version, bid)
        of.arbiter.stands(made.participant, made.marks)
        self._work.set()
        try:
            async with asyncio.timeout(limits.LONG_POLL_S):
                return await asyncio.shield(waiting)
        except TimeoutError:
            raise Unavailable(
                f"no verdict yet on the call at {bid.place} of {made.workflow}: bids are missing "
                f"from {', '.join(sorted(of.arbiter.missing())) or 'nobody'}."
            ) from None

    def changed(self) -> None:
        """Participants came or went: verdicts that waited for them may be possible."""
        self._work.set()

    def stop(self) -> None:
        """Nothing is decided any more; whoever bid bids again elsewhere."""
        for task in self._tasks:
            task.cancel()

    def _begin(self) -> None:
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = [
                loop.create_task(self._decide_loop()),
                loop.create_task(self._ask_loop()),
            ]

    def _refresh(self, workflow: str, of: _OfWorkflow) -> None:
        known, now = of.arbiter.participants, self._participants(workflow)
        for name in known.keys() - now.keys():
            del known[name]
        for name, one in now.items():
            marks = known[name].marks if name in known else one.marks
            known[name] = replace(one, marks=marks)

    async def _decide_loop(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            for workflow, of in self._workflows.items():
                self._refresh(workflow, of)
            made = {name: of.arbiter.verdicts() for name, of in self._workflows.items()}
            for workflow, verdicts in made.items():
                if verdicts:
                    await self._decide(workflow, verdicts)

    async def _decide(self, workflow: str, verdicts: list[Verdict]) -> None:
        of = self._workflows[workflow]
        try:
            kept = await asyncio.to_thread(kept_verdicts, self._store, workflow, verdicts)
        except Exception as error:  # nobody is told; whoever bids again asks again
            _log.warning("verdicts_not_kept", workflow=workflow, error=str(error))
            asyncio.get_running_loop().call_later(limits.RETRY_BACKOFF_S_MAX, self._work.set)
            return
        of.arbiter.settled(kept)
        for verdict in kept:
            waiting = of.waiting.pop(verdict.place, None)
            if waiting is not None:
                waiting.set_result(verdict)

    async def _ask_loop(self) -> None:
        while True:
            await asyncio.sleep(limits.BIDS_AWAITED_S)
            for of in list(self._workflows.values()):
                for name, places in of.arbiter.missing().items():
                    await self._ask_one(of.arbiter, name, places)

    async def _ask_one(self, arbiter: Arbiter, name: str, places: list[tuple[int, int]]) -> None:
        try:
            async with asyncio.timeout(limits.BIDS_AWAITED_S):
                arbiter.stands(name, await self._ask(name, places))
        except (RaysumeError, TimeoutError) as error:  # it is being brought back
            _log.info("participant_not_asked", participant=name, error=repr(error))
        self._work.set()
