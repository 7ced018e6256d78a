"""Compares what was acknowledged with what happened. Pure: knows nothing of how either was read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from raysume.ids import instance_id_of
from scale_tests.faults.journal import Acknowledged, Sent
from scale_tests.faults.workflows import ANSWER_WITHIN_S

STARTS: Final[Mapping[str, str]] = {
    "greeted": "greeting",
    "opened": "counting",
    "asked": "question",
    "ordered": "order",
}
"""Method -> the workflow that its calls start."""

_NOTES_MAX: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedCall:
    """A call as it lies in the call log."""

    id: str
    method: str
    key: str
    n: int
    at_us: int
    first: str = ""
    """What a `noted` call tells of its instance's first step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenInstance:
    """An instance as the engine tells it."""

    id: str
    workflow: str
    status: str
    result: Any = None
    error: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLine:
    """One attempt of a step ran."""

    key: str
    what: str
    step_key: str
    attempt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """All that happened."""

    calls: list[LoggedCall]
    instances: list[SeenInstance]
    lines: list[StepLine]


@dataclass(slots=True)
class Verdict:
    """What does not agree."""

    lost: int = 0
    """Acknowledged calls and starts that are not applied where they should be."""
    doubled: int = 0
    """What happened twice: calls, instances, turns, results of a step."""
    disordered: int = 0
    """Instances that saw the calls of one publisher in another order."""
    stuck: int = 0
    """Instances that did not finish."""
    steps_repeated: int = 0
    """Attempts of steps beyond the first that ended: allowed, since they were not recorded."""
    notes: list[str] = field(default_factory=list[str])

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        return self.lost == self.doubled == self.disordered == self.stuck == 0

    def note(self, text: str) -> None:
        """One more example of what is wrong."""
        if len(self.notes) < _NOTES_MAX:
            self.notes.append(text)


class Checker:
    """One comparison."""

    def __init__(self, acknowledged: Acknowledged, observed: Observed) -> None:
        self._acknowledged, self._observed = acknowledged, observed
        self._verdict = Verdict()
        self._logged: dict[Sent, list[LoggedCall]] = defaultdict(list)
        for call in observed.calls:
            self._logged[Sent(call.method, call.key, call.n)].append(call)
        self._instances: dict[tuple[str, str], list[SeenInstance]] = defaultdict(list)
        for one in observed.instances:
            self._instances[one.workflow, one.id].append(one)
        self._ticks: dict[str, list[int]] = defaultdict(list)
        self._follow_ups: dict[tuple[str, str], list[Sent]] = defaultdict(list)
        self._noted: dict[str, list[LoggedCall]] = defaultdict(list)
        for call in observed.calls:
            if call.method == "noted":
                self._noted[call.key].append(call)
        self._lines: dict[tuple[str, str], list[StepLine]] = defaultdict(list)
        for line in observed.lines:
            self._lines[line.key, line.what].append(line)

    def check(self) -> Verdict:
        """The verdict over everything."""
        self._check_log()
        for call in self._acknowledged.calls:
            if call.method == "ticked":
                self._ticks[call.key].append(call.n)
            elif call.method in ("answered", "paid", "granted"):
                self._follow_ups[call.method, call.key].append(call)
        expected: set[tuple[str, str]] = set()
        for call in self._acknowledged.calls:
            workflow = STARTS.get(call.method)
            if workflow is None:
                continue
            for logged in self._logged[call][:1]:
                identity = workflow, instance_id_of(workflow, logged.id)
                expected.add(identity)
                one = self._only(identity, of=call.key)
                if one is not None:
                    self._check_result(one, call, logged)
        expected |= self._check_claims()
        self._check_unexpected(expected)
        return self._verdict

    def _check_log(self) -> None:
        """Each acknowledged call is in the log once."""
        for call, times in Counter(self._acknowledged.calls).items():
            found = len(self._logged[call])
            if found < times:
                self._lost(f"{call} is not in the call log")
            self._doubled(found - times, f"{call} is in the call log {found} times")

    def _only(self, identity: tuple[str, str], *, of: str) -> SeenInstance | None:
        """The instance, when it is there and has finished."""
        found = self._instances[identity]
        if not found:
            self._lost(f"{of}: there is no instance {identity}")
            return None
        self._doubled(len(found) - 1, f"{of}: instance {identity} exists {len(found)} times")
        if found[0].status != "completed":
            self._verdict.stuck += 1
            self._verdict.note(f"{of}: {found[0]}")
            return None
        return found[0]

    def _check_result(self, one: SeenInstance, call: Sent, logged: LoggedCall) -> None:
        match one.workflow:
            case "greeting":
                if one.result != [call.key]:
                    self._lost(f"{call.key}: greeting gave {one.result}")
            case "counting":
                self._check_counting(call.key, one.result)
            case "question":
                self._check_question(call.key, one.result, logged)
            case _:
                self._check_order(call.key, one.result)

    def _check_counting(self, key: str, result: list[int]) -> None:
        """Every number that was acknowledged was taken once, in order."""
        sent = Counter(self._ticks[key])
        taken = Counter(result)
        for number in (sent - taken).elements():
            self._lost(f"{key}: number {number} was not taken: {result}")
        more = (taken - sent).total()
        self._doubled(more, f"{key}: numbers were taken more than once: {result}")
        if sent == taken and result != sorted(result):
            self._verdict.disordered += 1
            self._verdict.note(f"{key}: taken in another order: {result}")

    def _check_question(self, key: str, result: str, asked: LoggedCall) -> None:
        """An answer accepted in time was taken; nobody was answered without one."""
        answers = [
            logged for sent in self._follow_ups["answered", key] for logged in self._logged[sent]
        ]
        # The wait is made when the question is applied: not before it was accepted.
        due_us = asked.at_us + int(ANSWER_WITHIN_S * 1_000_000)
        in_time = any(answer.at_us < due_us for answer in answers)
        if result == "late" and in_time:
            self._lost(f"{key}: late, though answered in time: {answers}, asked {asked}")
        if result == "answered" and not answers:
            self._doubled(1, f"{key}: answered by nobody")

    def _check_order(self, key: str, result: list[str]) -> None:
        """Steps gave what an attempt gave, the same to all who saw it; the call out went once."""
        for what, given in (("here", result[0]), ("there", result[1])):
            lines = self._lines[key, what]
            if given not in {line.attempt for line in lines}:
                self._lost(f"{key}: step {what} gave {given}, which no attempt made: {lines}")
            if len({line.step_key for line in lines}) > 1:
                self._doubled(1, f"{key}: step {what} was asked for twice: {lines}")
            self._verdict.steps_repeated += max(0, len(lines) - 1)
        noted = self._noted[key]
        if not noted:
            self._lost(f"{key}: the call out is not in the call log")
        self._doubled(len(noted) - 1, f"{key}: called out {len(noted)} times")
        if any(call.first != result[0] for call in noted):
            self._doubled(1, f"{key}: two results of a step: {result[0]}, {noted}")
        payments = [str(call.n) for call in self._follow_ups["paid", key]]
        if result[2] not in payments:
            self._lost(f"{key}: paid {payments}, but got {result[2]}")

    def _check_claims(self) -> set[tuple[str, str]]:
        """Of each group, every call went to one instance."""
        expected = {("claim", start.id) for start in self._acknowledged.starts}
        groups: dict[str, list[int]] = defaultdict(list)
        complete: dict[str, bool] = defaultdict(lambda: True)
        for start in self._acknowledged.starts:
            one = self._only(("claim", start.id), of=start.group)
            if one is None:
                complete[start.group] = False
            else:
                groups[start.group].append(one.result)
        for group, taken in groups.items():
            sent = Counter(call.n for call in self._follow_ups["granted", group])
            more = (Counter(taken) - sent).total()
            self._doubled(more, f"{group}: a call went to several: {taken}")
            if complete[group]:
                for number in (sent - Counter(taken)).elements():
                    self._lost(f"{group}: nobody got call {number}: {taken}")
        return expected

    def _check_unexpected(self, expected: set[tuple[str, str]]) -> None:
        """Nothing exists that nobody asked for."""
        for identity, found in self._instances.items():
            if identity not in expected and found:
                self._doubled(1, f"nobody asked for {found[0]}")

    def _lost(self, text: str) -> None:
        self._verdict.lost += 1
        self._verdict.note(f"lost: {text}")

    def _doubled(self, times: int, text: str) -> None:
        if times > 0:
            self._verdict.doubled += times
            self._verdict.note(f"doubled: {text}")


def longest_gap(moments: Iterable[float], begin: float, end: float) -> float:
    """The longest time between two of the moments, or between one and an end."""
    within = [begin, *sorted(one for one in moments if begin < one < end), end]
    return max(after - before for before, after in pairwise(within))
