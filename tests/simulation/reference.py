"""What the kernel should do with two workflows, as plainly as it can be said: no saving, no index.

It knows calls in order, cases that wait, and one clock. `test_against_reference.py` does the
same things to it and to the kernel, crashes and reloads of the kernel besides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

Key = tuple[str | int, ...]  # the method of a wait, and what its match asks for
WINDOW = timedelta(hours=24)


@dataclass
class Sent:
    """A call that was accepted."""

    key: Key
    text: str
    at: datetime


@dataclass
class Case:
    """An instance: what it waits for, and what came of it."""

    started: int
    """How many calls there were before the first that its mailbox has."""
    rounds: int
    results: list[str]
    status: str = "waiting"
    due: datetime | None = None
    since: datetime | None = None
    received: dict[Key, int] = field(default_factory=dict[Key, int])
    open: list[Key] = field(default_factory=list[Key])
    patience: timedelta = timedelta.max

    def begin_round(self, waits: list[Key], now: datetime) -> None:
        """The case waits for everything that may end a round, or has had all its rounds."""
        if len(self.results) >= self.rounds:
            self.stop("completed")
        else:
            self.open, self.due, self.since = waits, now + self.patience, now - WINDOW

    def stop(self, status: str) -> None:
        """It waits for nothing any more."""
        self.status, self.open, self.due = status, [], None


@dataclass
class Order(Case):
    """`order`: an answer, two signatures or five hours end a round."""

    number: int = 0
    patience: timedelta = timedelta(hours=5)

    def go_on(self, now: datetime) -> None:
        """It waits for an answer, or for both signatures."""
        number = self.number
        self.begin_round([("answer", number), ("sign", number, 0), ("sign", number, 1)], now)

    def meet(self, key: Key, sent: Sent, now: datetime) -> None:
        """An answer ends the round, or the whole case; signatures do when there are two."""
        self.open.remove(key)
        if sent.text == "boom":
            self.stop("failed")
        elif key[0] == "answer" or ("answer", self.number) == self.open[-1]:
            self.results.append(sent.text if key[0] == "answer" else "signed")
            self.go_on(now)

    def ring(self, now: datetime) -> None:
        """The round was missed."""
        self.results.append("late")
        self.go_on(now)


@dataclass
class Tally(Case):
    """`tally`: so many ticks, none of which may take thirty hours."""

    patience: timedelta = timedelta(hours=30)

    def go_on(self, now: datetime) -> None:
        """It waits for any tick."""
        self.begin_round([("tick",)], now)

    def meet(self, key: Key, sent: Sent, now: datetime) -> None:  # noqa: ARG002 - one key only
        """One more."""
        self.results.append(sent.text)
        self.go_on(now)

    def ring(self, now: datetime) -> None:  # noqa: ARG002 - it ends
        """The limit is not caught."""
        self.stop("failed")


class Model:
    """All cases, all calls, and the time."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.calls: list[Sent] = []
        self.orders: list[Order] = []
        self.tallies: dict[str, Tally] = {}

    @property
    def cases(self) -> list[Order | Tally]:
        """Orders first, each in the order of starts."""
        return [*self.orders, *self.tallies.values()]

    def push(self, key: Key, text: str = "", *, rounds: int = 0) -> None:
        """A call is accepted and met, or starts an order."""
        self.calls.append(Sent(key, text, self.now))
        if key[0] == "begin" and rounds < 4:
            paid = "refused" if int(key[1]) % 3 == 2 else "paid"
            order = Order(len(self.calls), rounds + 1, [paid], number=int(key[1]))
            self.orders.append(order)
            order.go_on(self.now)
        self._receive()

    def start(self, name: str, rounds: int) -> None:
        """A tally is started; a name that is taken starts nothing."""
        if name not in self.tallies:
            tally = self.tallies[name] = Tally(len(self.calls), rounds, [])
            tally.go_on(self.now)

    def advance(self, delay: timedelta) -> None:
        """Everything that is due on the way has rung, in order."""
        until = self.now + delay
        while due := [(c.due, i) for i, c in enumerate(self.cases) if c.due and c.due <= until]:
            self.now, index = min(due)
            self.cases[index].ring(self.now)
            self._receive()
        self.now = until

    def _receive(self) -> None:
        while any(self._receives_one(case, key) for case in self.cases for key in list(case.open)):
            pass

    def _receives_one(self, case: Order | Tally, key: Key) -> bool:
        """Whether the oldest call counts that it has not received: it is met."""
        after = max(case.started, case.received.get(key, 0))
        for place, sent in enumerate(self.calls[after:], after + 1):
            if sent.key == key and case.since is not None and sent.at >= case.since:
                case.received[key] = place
                case.meet(key, sent, self.now)
                return True
        return False
