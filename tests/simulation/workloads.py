"""Random workloads: what is pushed and started, and what must come of it."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

from tests.simulation import workflows as w

from raysume.methods import PushedMethod


@dataclass(frozen=True, slots=True)
class Push:
    """A call that a client pushes."""

    method: PushedMethod[Any, Any]
    input: dict[str, Any]
    output: Any = None


@dataclass(frozen=True, slots=True)
class Start:
    """An explicit start that a client asks for until it is answered."""

    key: str
    arguments: dict[str, Any]


Item = Push | Start


@dataclass(slots=True)
class Workload:
    """What clients do, in order, and the results that instances must end with."""

    batches: list[list[Item]] = field(default_factory=list[list[Item]])
    """The calls of one batch are accepted together."""
    results: list[str] = field(default_factory=list[str])
    """As `result_of` writes them."""
    published: list[str] = field(default_factory=list[str])
    """Calls that workflows must have published, each once, as `published_of` writes them."""

    def expect(self, workflow: str, **result: Any) -> None:
        """An instance of the workflow returns `result`."""
        self.results.append(result_of(workflow, result))

    def publishes(self, method: PushedMethod[Any, Any], **input: Any) -> None:
        """A workflow publishes this call."""
        self.published.append(published_of(method.urn, input))


def result_of(workflow: str, result: Any) -> str:
    """One line for the end of an instance."""
    return f"{workflow} {json.dumps(result, sort_keys=True)}"


def published_of(urn: str, input: Any) -> str:
    """One line for a published call."""
    return f"{urn} {json.dumps(input, sort_keys=True)}"


def make(rng: random.Random, *, has_rivals: bool = False) -> Workload:
    """A workload; equal generators make equal ones.

    Args:
        has_rivals: with calls that only one of several instances may get.
    """
    made = Workload()
    stories: list[list[list[Item]]] = []
    for number in range(rng.randint(2, 6)):
        tell = rng.choice((_collecting, _approving, _listening, _fulfilling))
        stories.append(tell(rng, made, str(number)))
    if has_rivals:
        stories.append(_bartering(rng, made))
    while any(stories):
        alive = [story for story in stories if story]
        batch: list[Item] = []
        for story in rng.sample(alive, rng.randint(1, len(alive))):
            batch += story.pop(0)
        made.batches.append(batch)
    return made


def _collecting(rng: random.Random, made: Workload, number: str) -> list[list[Item]]:
    key, count = f"parcel{number}", rng.choice((1, 2, 5, 12))
    pushes = [Push(w.added, {"key": key, "n": n}) for n in range(count)]
    pushes.insert(rng.randint(0, count), Push(w.sealed, {"key": key}))
    got = list(range(count))
    made.expect("simulation.collect", key=key, got=got)
    made.publishes(w.closed, key=key, got=got)
    note = f"ticket {key} after {count % 2}"
    made.expect("simulation.follow", key=key, got=got, note=note)
    first = Push(w.opened, {"key": key, "count": count})
    return _in_batches(rng, [first, *pushes])


def _approving(rng: random.Random, made: Workload, number: str) -> list[list[Item]]:
    kind = rng.choice(("prompt", "prompt", "prompt", "late", "never", "none"))
    key, failures = f"{kind}{number}", 3 if kind == "none" else rng.randint(0, 2)
    ask = Push(w.asked, {"key": key, "failures": failures})
    reply = Push(w.answered, {"key": key, "answer": "yes"}, "yes")
    if kind == "none":
        made.expect("simulation.approve", key=key, outcome="no ticket after 3")
        made.publishes(w.told, key=key, outcome="no ticket")
        return [[ask]]
    ticket = f"ticket {key} after {failures}"
    if kind == "never":
        made.expect("simulation.approve", key=key, outcome="timeout", ticket=ticket)
        made.publishes(w.told, key=key, outcome="timeout")
        return [[ask]]
    names = rng.sample(("ann", "bob", "cid"), 2)
    tickets = [ticket, f"ticket {key} again after 0"]
    made.expect("simulation.approve", key=key, outcome="yes", names=sorted(names), tickets=tickets)
    made.publishes(w.told, key=key, outcome="yes")
    signs: list[Item] = [Push(w.signed, {"key": key, "who": who}) for who in names]
    if kind == "prompt":
        return [[ask, reply], *_in_batches(rng, signs)]
    rest = [reply, *signs]
    rng.shuffle(rest)
    return [[ask], *_in_batches(rng, rest)]


def _listening(rng: random.Random, made: Workload, number: str) -> list[list[Item]]:
    key, count = f"room{number}", rng.choice((1, 3, 8))
    is_aloud = [rng.random() < 0.5 for _ in range(count)]
    says: list[Item] = [
        Push(w.said, {"key": key, "n": n, "aloud": loud}) for n, loud in enumerate(is_aloud)
    ]
    aloud = [n for n, loud in enumerate(is_aloud) if loud]
    quietly = [n for n, loud in enumerate(is_aloud) if not loud]
    made.expect("simulation.listen", key=key, aloud=aloud, quietly=quietly)
    made.publishes(w.left, key=key, aloud=aloud)
    return _in_batches(rng, [Push(w.joined, {"key": key, "count": count}), *says])


def _fulfilling(rng: random.Random, made: Workload, number: str) -> list[list[Item]]:
    key, many = f"order{number}", rng.choice((1, 4, 90))
    items: list[Item] = [Push(w.added, {"key": key, "n": n}) for n in range(many)]
    is_answered = rng.random() < 0.5
    if is_answered:
        items.insert(rng.randint(0, many), Push(w.answered, {"key": key, "answer": "yes"}, "yes"))
    items.insert(rng.randint(0, len(items)), Push(w.sealed, {"key": key}))
    result = {"key": key, "got": list(range(many)), "seal": key}
    made.expect("simulation.fulfil", **result, answer=True if is_answered else None)
    start = Start(f"fulfil-{key}", {"key": key, "many": many})
    return [[start], *_in_batches(rng, items, largest=20)]


def _bartering(rng: random.Random, made: Workload) -> list[list[Item]]:
    """Orders of several keys, two rounds of some, then an offer for each round of each key."""
    orders: list[list[Item]] = []
    lasts: list[list[Item]] = []
    for number in range(rng.randint(1, 4)):
        key = f"deal{number}"
        counts = [rng.choice((0, 1, 3)) for _ in range(rng.choice((1, 1, 2)))]
        pushes: list[Item] = []
        for count in counts:
            pushes.append(Push(w.ordered, {"key": key, "n": count}))
            pushes += [Push(w.ordered, {"key": key, "n": n}) for n in range(count)]
            made.expect("simulation.barter", key=key, got=list(range(count)))
        orders.append(pushes[: len(pushes) - counts[-1]])
        lasts.append(pushes[len(pushes) - counts[-1] :])
    begun, rest = _shuffled(rng, orders), _shuffled(rng, lasts)
    instances = sum(1 for line in made.results if line.startswith("simulation.barter "))
    for n in range(instances):
        made.publishes(w.won, n=n)
    offers: list[Item] = [Push(w.offered, {"n": n}) for n in range(instances)]
    return _in_batches(rng, [*begun, *_shuffled(rng, [rest, offers])])


def _shuffled(rng: random.Random, kept: list[list[Item]]) -> list[Item]:
    """All items, each list in its own order."""
    lists = [list(one) for one in kept]
    found: list[Item] = []
    while alive := [one for one in lists if one]:
        found.append(rng.choice(alive).pop(0))
    return found


def _in_batches(rng: random.Random, items: list[Item], largest: int = 4) -> list[list[Item]]:
    batches: list[list[Item]] = []
    rest = list(items)
    while rest:
        size = rng.randint(1, largest)
        batches.append(rest[:size])
        del rest[:size]
    return batches
