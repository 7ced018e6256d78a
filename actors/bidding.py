"""A pool among others of its workflow: its bids and claims go out, verdicts come back.

It does nothing for a pool that is alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import structlog

from raysume import limits
from raysume.actors.kernel.arbitration import Arbitration
from raysume.actors.kernel.bids import Bid, Claim, Regime, Verdict
from raysume.actors.kernel.commits import Claimed, Commit, Decided, Event
from raysume.errors import Unavailable
from raysume.storage.ports import Decision, Store

if TYPE_CHECKING:
    from raysume.actors.kernel.kernel import Kernel
    from raysume.actors.kernel.records import Place

_log = structlog.get_logger("raysume.pool")

T = TypeVar("T")

_KIND = "regimes"
_VERDICT, _CLAIM = "verdict", "claim"


class BidMade(msgspec.Struct, frozen=True, kw_only=True):
    """A participant's bid, as it reaches the directory."""

    workflow: str
    version: str
    participant: str
    bid: Bid
    marks: dict[int, int]
    """partition -> offset below which the participant has dealt with every call."""


AskVerdict = Callable[[BidMade], Awaitable[Verdict]]
"""Returns once the verdict is kept.

Raises:
    Unavailable: there is none yet; ask again.
"""


# --- what the store keeps --------------------------------------------------------------


def regimes_of(store: Store, workflow: str) -> list[Regime]:
    """From where on which calls of the workflow need a verdict, newest last."""
    body = store.get_document(_KIND, workflow)
    return [] if body is None else msgspec.msgpack.decode(body, type=list[Regime])


def keep_regimes(store: Store, workflow: str, regimes: list[Regime]) -> None:
    """The regimes are durable; older than the newest `REGIMES_MAX` are forgotten."""
    kept = regimes[-limits.REGIMES_MAX :]
    store.put_document(_KIND, workflow, msgspec.msgpack.encode(kept))


def kept_verdicts(store: Store, workflow: str, verdicts: list[Verdict]) -> list[Verdict]:
    """Of each verdict, the one that counts: it was kept first, and is durable."""
    decisions = [
        Decision(
            workflow=workflow,
            pos=one.pos,
            offset=one.offset,
            kind=_VERDICT,
            body=msgspec.msgpack.encode(one),
        )
        for one in verdicts
    ]
    return [_verdict_in(one) for one in store.decide(decisions)]


def verdicts_of(
    store: Store, workflow: str, *, after: Place, upto: Place | None = None
) -> list[Verdict]:
    """The verdicts on calls behind `after`, in order."""
    found = store.decisions_of(workflow, after=after, upto=upto)
    return [_verdict_in(one) for one in found if one.kind == _VERDICT]


def verdict_on(store: Store, workflow: str, place: Place) -> Verdict | None:
    """The verdict on one call; None when there is none yet."""
    pos, offset = place
    return next(iter(verdicts_of(store, workflow, after=(pos, offset - 1), upto=place)), None)


def winner_of(store: Store, workflow: str, claim: Claim) -> str:
    """Whose the call is, durably: the instance's, if no other was faster.

    Returns:
        The instance that claimed it first, or that had it by a verdict.
    """
    verdict = verdict_on(store, workflow, (claim.pos, claim.offset))
    if verdict is not None and verdict.winner is not None:
        return verdict.winner
    decision = Decision(
        workflow=workflow,
        pos=claim.pos,
        offset=claim.offset,
        kind=_CLAIM,
        body=claim.instance.encode(),
    )
    [kept] = store.decide([decision])
    return kept.body.decode()


def _verdict_in(decision: Decision) -> Verdict:
    return msgspec.msgpack.decode(decision.body, type=Verdict)


# --- the pool's side -------------------------------------------------------------------


class Bidding:
    """Sends a kernel's bids and claims, and reports their ends as events."""

    def __init__(
        self,
        kernel: Kernel,
        store: Store,
        *,
        participant: str,
        ask: AskVerdict | None,
        report: Callable[[Event], None],
    ) -> None:
        """
        Args:
            participant: the name of the kernel among those of its workflow.
            ask: gets a verdict; None: nobody else runs the workflow.
            report: takes events, in the event loop's thread.
        """
        self._kernel, self._store, self._ask, self._report = kernel, store, ask, report
        self._tasks: set[asyncio.Task[None]] = set()
        kernel.arbitration = Arbitration(participant)

    def recall(self) -> None:
        """The kernel knows the regimes that the store keeps; called before it recovers, and
        whenever there is a new one."""
        if self._ask is not None:
            workflow = self._kernel.workflow.name
            self._kernel.arbitration.regimes = regimes_of(self._store, workflow)

    def claim_taken(self) -> None:
        """The calls that went to exclusive waits here are claimed durably; whoever claims one later
        finds that it is somebody else's."""
        taken = [
            Decision(
                workflow=self._kernel.workflow.name, pos=pos, offset=offset, kind=_CLAIM, body=b""
            )
            for pos, offset in self._kernel.exclusives.places()
        ]
        if taken:
            self._store.decide(taken)

    def verdicts(self, *, after: Place, upto: Place | None = None) -> list[Verdict]:
        """The verdicts on calls behind `after`; reads the store, if there can be any."""
        if not self._kernel.arbitration.regimes:
            return []
        return verdicts_of(self._store, self._kernel.workflow.name, after=after, upto=upto)

    def release(self, commit: Commit) -> None:
        """The commit is durable: its bids and claims are under way."""
        for bid in commit.bids:
            self._spawn(self._bid(bid))
        for claim in commit.claims:
            self._spawn(self._claim(claim))

    async def stop(self) -> None:
        """Nothing is under way any more; a successor bids and claims again."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("bid_failed", error=repr(task.exception()), exc_info=task.exception())

    async def _bid(self, bid: Bid) -> None:
        kernel, ask = self._kernel, self._ask
        assert ask is not None, "a kernel without regimes does not bid"
        made = BidMade(
            workflow=kernel.workflow.name,
            version=kernel.version,
            participant=kernel.arbitration.participant,
            bid=bid,
            marks=dict(kernel.watermarks),
        )
        verdict = await _surely(lambda: ask(made))
        self._report(Decided(verdict=verdict))

    async def _claim(self, claim: Claim) -> None:
        store, name = self._store, self._kernel.workflow.name
        winner = await _surely(lambda: asyncio.to_thread(winner_of, store, name, claim))
        self._report(Claimed(claim=claim, winner=winner))


async def _surely(ask: Callable[[], Awaitable[T]]) -> T:
    """What `ask` gives: who is away for a while is asked again."""
    backoff_s = limits.RETRY_BACKOFF_S_MIN
    while True:
        try:
            return await ask()
        except Unavailable as error:
            _log.info("verdict_awaited", reason=str(error))
        await asyncio.sleep(backoff_s)
        backoff_s = min(backoff_s * 2, limits.RETRY_BACKOFF_S_MAX)


def passed(marks: Mapping[int, int], begins: Mapping[int, int]) -> bool:
    """Whether a kernel that stands at `marks` has applied a call behind the boundary."""
    return any(offset > begins.get(partition, 0) for partition, offset in marks.items())
