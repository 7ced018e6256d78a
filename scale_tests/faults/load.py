"""A client under load, in a process of its own that no fault touches.

    python -m scale_tests.faults.load URL TOKEN NAME SEED RATE UNTIL JOURNAL

It sends one batch after the other, each until it is accepted, under the publisher's name and
sequence that make repeating harmless. It falls behind its rate while the engine is away, and
catches up afterwards. After UNTIL it begins nothing new, and ends when all is sent.
"""

from __future__ import annotations

import heapq
import os
import random
import sys
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from scale_tests.faults.journal import Journal, Line, Sent, Started
from scale_tests.faults.workflows import ANSWER_WITHIN_S

BATCH_CALLS_MAX: Final = 250
PACE_S: Final = 0.1
"""Between two batches when the rate is kept."""
ANSWER_S: Final = 10.0
"""A request that is not answered by then is sent again."""
TICKS: Final = 18
"""How many calls an instance of `counting` takes."""
COUNTING_MAX: Final = 120
"""How many instances of `counting` are fed in turns."""
GROUP: Final = 3
"""How many instances wait for the same calls, exclusively."""

_BEGIN_WEIGHTS: Final = {"opened": 40, "asked": 20, "ordered": 12, "greeted": 26, "claims": 2}


class Plan:
    """What to send next. Follow-ups of a call come up when it was accepted."""

    def __init__(self, name: str, seed: int) -> None:
        self._name, self._random = name, random.Random(f"{seed}/{name}")
        self._made = 0
        self._fed: list[tuple[str, int]] = []
        """Key and next number of the instances of `counting` that are fed."""
        self._due: list[tuple[float, int, Sent]] = []
        self._kinds = list(_BEGIN_WEIGHTS)
        self.groups: list[str] = []
        """Groups of `claim` whose members are to be started."""

    def batch(self, size: int, now: float, *, ending: bool) -> list[Sent]:
        """At most so many calls that are to be sent now."""
        calls: list[Sent] = []
        while self._due and len(calls) < size and (ending or self._due[0][0] <= now):
            calls.append(heapq.heappop(self._due)[2])
        # Those just opened are in this batch: their calls may follow in it, since order is kept.
        while len(calls) < size:
            if ending and not self._fed:
                break
            if self._fed and (ending or len(self._fed) >= COUNTING_MAX):
                calls.append(self._tick())
            elif not ending:
                calls += self._begin()
        return calls

    def accepted(self, calls: list[Sent], now: float) -> None:
        """The calls were accepted at that time: what follows upon them is planned."""
        for call in calls:
            match call.method:
                case "asked" if self._random.random() < 0.85:
                    after_s = ANSWER_WITHIN_S * self._random.choice([0.1, 0.5, 0.9, 0.99, 0.999])
                    self._plan(now + after_s, Sent("answered", call.key, 0))
                case "ordered":
                    after_s = self._random.uniform(0, 3)
                    self._plan(now + after_s, Sent("paid", call.key, self._random.randrange(1000)))
                case _:
                    pass

    def started(self, group: str, now: float) -> None:
        """All members of the group exist: what they wait for is planned."""
        for n in range(GROUP):
            self._plan(now, Sent("granted", group, n))

    @property
    def next_due(self) -> float | None:
        """When the next planned call is due; None: none is planned."""
        return self._due[0][0] if self._due else None

    def _plan(self, at: float, call: Sent) -> None:
        self._made += 1
        heapq.heappush(self._due, (at, self._made, call))

    def _tick(self) -> Sent:
        at = self._random.randrange(len(self._fed))
        key, n = self._fed[at]
        if n + 1 < TICKS:
            self._fed[at] = (key, n + 1)
        else:
            self._fed[at] = self._fed[-1]
            self._fed.pop()
        return Sent("ticked", key, n)

    def _begin(self) -> list[Sent]:
        [kind] = self._random.choices(self._kinds, list(_BEGIN_WEIGHTS.values()))
        self._made += 1
        key = f"{self._name}-{self._made}"
        if kind == "claims":
            self.groups.append(key)
            return []
        if kind == "opened":
            self._fed.append((key, 0))
        return [Sent(kind, key, TICKS)]


class Sender:
    """Sends until it is accepted, and writes down what was."""

    def __init__(self, url: str, token: str, name: str, journal: Journal) -> None:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=ANSWER_S, trust_env=False)
        self._name, self._journal, self._next = name, journal, 1

    def send(self, calls: list[Sent]) -> None:
        """The calls are accepted."""
        body = [
            {
                "method": f"faults.{one.method}",
                "input": {"key": one.key, "n": one.n},
                "output": True,
            }
            for one in calls
        ]
        named = {"Raysume-Publisher": self._name, "Raysume-Sequence": str(self._next)}
        self._post("/v1/calls:batch", body, named)
        self._journal.write(Line(time.time(), calls=calls))
        self._next += len(calls)

    def start(self, group: str) -> None:
        """All members of the group exist."""
        starts: list[Started] = []
        for member in range(GROUP):
            id = f"{group}-{member}"
            body = {"id": id, "input": {"group": group}}
            self._post("/v1/workflows/claim/instances", body, {})
            starts.append(Started(id, group))
        self._journal.write(Line(time.time(), starts=starts))

    def _post(self, path: str, body: Any, headers: Mapping[str, str]) -> None:
        content, pause_s, parent = msgspec.json.encode(body), 0.1, os.getppid()
        while os.getppid() == parent:
            try:
                answer = self._http.post(path, content=content, headers=dict(headers))
            except httpx.HTTPError:
                pass
            else:
                if answer.is_success:
                    return
                # A deployment that is coming back may not know the paths yet.
                if answer.status_code < 500 and answer.status_code not in (404, 408, 429):
                    raise SystemExit(f"{path}: {answer.status_code} {answer.text[:500]}")
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 1.0)
        raise SystemExit("whoever started this client is gone")


def run(plan: Plan, sender: Sender, *, rate: float, until: float) -> None:
    """Everything that was begun before `until` is sent."""
    began, sent = time.time(), 0
    starting: dict[str, Future[None]] = {}
    # Starts wait for their pool, calls do not: the one must not hold up the other.
    with ThreadPoolExecutor(1, "starts") as beside:
        while True:
            now = time.time()
            ending = now >= until
            behind = int((now - began) * rate) - sent
            size = BATCH_CALLS_MAX if ending else min(behind, BATCH_CALLS_MAX)
            calls = plan.batch(size, now, ending=ending) if size > 0 else []
            if calls:
                sender.send(calls)
                plan.accepted(calls, time.time())
                sent += len(calls)
            groups, plan.groups = plan.groups, []
            starting |= {group: beside.submit(sender.start, group) for group in groups}
            for group in [group for group, start in starting.items() if start.done()]:
                starting.pop(group).result()
                plan.started(group, time.time())
            if ending and not calls and not starting and plan.next_due is None:
                return
            if not calls or behind < BATCH_CALLS_MAX:
                time.sleep(PACE_S)


def main() -> None:
    """Runs the client that the arguments describe."""
    url, token, name, seed, rate, until, path = sys.argv[1:]
    sender = Sender(url, token, name, Journal(Path(path)))
    run(Plan(name, int(seed)), sender, rate=float(rate), until=float(until))


if __name__ == "__main__":
    main()
