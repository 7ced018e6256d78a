"""Moments at which a planted bug of the arbitration shows, and the real thing does not.

Chance meets them seldom: a crash between two things that follow each other at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from tests.simulation.bidders import Trading
from tests.simulation.participants import SimParticipant, always
from tests.simulation.test_arbitration import check
from tests.simulation.trading import ordered

from raysume.actors.kernel.arbiter import Arbiter
from raysume.actors.kernel.arbitration import Arbitration


class Story:
    """Two versions without any trouble but what is told; the first one has an instance."""

    def __init__(self, plan: str) -> None:
        worlds = (Trading(seed) for seed in itertools.count())
        self.world = next(world for world in worlds if world.members == (1, 1))
        self.world.trouble, self.world.left = 0.0, 0
        self.world.recent = 1_000
        [self.old] = self.world.participants
        self.world.accept(ordered, group="a", plan=plan)
        self.mail()
        while self.old.events:
            self.old.apply()
        self.settle(self.old)
        self.world.hand_over()
        self.new = self.world.participants[1]

    def mail(self) -> None:
        """Every letter has arrived."""
        while self.world.mail:
            self.world.bring(self.world.mail[0])

    def order(self) -> None:
        """An order of the instance's group is delivered."""
        self.world.accept(ordered, group="a", plan="")
        self.mail()

    def bids(self, one: SimParticipant) -> None:
        """The participant has come to the order, durably, and its bid has arrived."""
        while not one.kernel.arbitration.is_open:
            one.apply()
        self.settle(one)
        self.mail()

    def settle(self, one: SimParticipant) -> None:
        """Everything that it applied is durable."""
        while one.uncommitted:
            one.commit()

    def effects(self, one: SimParticipant) -> None:
        """Everything that it has under way has ended, and is applied."""
        for _, run in list(one.effects):
            run()
        while one.events:
            one.apply()

    def decides(self, *, ends_before_writing: bool = False) -> None:
        """The arbiter makes what verdicts it can."""
        [arbiter] = self.world.arbiters
        self.world.tell_who_is_there(arbiter)
        self.world.decide(arbiter, ends_before_writing=ends_before_writing)

    def ends(self) -> None:
        """Everything goes on to its end, and is checked."""
        self.world.run()
        check(self.world)


def goes_wrong(story: Callable[[], None]) -> bool:
    """Whether the check at the end of the story fails."""
    try:
        story()
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("bids_early", [False, True])
def test_a_bid_goes_out_after_its_commit(bids_early: bool) -> None:
    def story() -> None:
        tale = Story("sf")
        tale.world.bids_early = bids_early
        tale.effects(tale.old)  # the step has ended: it waits for what comes from now on
        tale.order()
        tale.old.apply()
        assert tale.old.kernel.arbitration.is_open
        tale.bids(tale.new)
        tale.decides()
        tale.mail()
        tale.old.boot()  # what it bid on was not durable
        tale.old.apply()
        for _, read in list(tale.old.effects):
            read()
        tale.bids(tale.old)  # the order comes before the end of the step this time
        tale.decides()
        tale.mail()
        tale.old.apply()
        tale.ends()

    assert goes_wrong(story) == bids_early


@pytest.mark.parametrize("forgets", [False, True])
def test_a_successor_stands_where_the_bid_was_made(
    forgets: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if forgets:
        monkeypatch.setattr(Arbitration, "recover", always(None))

    def story() -> None:
        tale = Story("r")
        tale.order()
        tale.bids(tale.old)
        tale.bids(tale.new)
        tale.decides()
        tale.world.mail.clear()  # nobody hears of it
        tale.old.boot()
        tale.settle(tale.old)
        tale.old.events.clear()  # it hears of the order later
        tale.effects(tale.old)  # the step, which would end the wait that the bid is about
        tale.ends()

    assert goes_wrong(story) == forgets


@pytest.mark.parametrize("goes_on", [False, True])
def test_nothing_is_applied_while_a_bid_is_out(
    goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if goes_on:
        monkeypatch.setattr(Arbitration, "holds_back", always(False))

    def story() -> None:
        tale = Story("r")
        tale.order()
        tale.bids(tale.old)
        tale.effects(tale.old)
        tale.bids(tale.new)
        tale.decides()
        tale.ends()

    assert goes_wrong(story) == goes_on


@pytest.mark.parametrize("tells_early", [False, True])
def test_a_verdict_is_told_when_it_is_kept(tells_early: bool) -> None:
    def story() -> None:
        tale = Story("o")
        tale.world.tells_early = tells_early
        tale.old.is_gone = True
        tale.order()
        tale.bids(tale.new)
        tale.decides(ends_before_writing=True)
        tale.mail()
        if tale.new.events:
            tale.new.apply()
            tale.settle(tale.new)
        tale.world.arbiters = [Arbiter()]
        tale.old.boot()
        tale.ends()

    assert goes_wrong(story) == tells_early
