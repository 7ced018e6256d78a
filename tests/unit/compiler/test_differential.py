"""Generated programs do the same plain, compiled, and saved and loaded at their waits.

RAYSUME_FUZZ_EXAMPLES sets the number of programs (`make fuzz`, which takes others every day) and
RAYSUME_FUZZ_SEED where they begin. A failure prints the smallest program found to differ, and
the seed of its answers.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from tests.unit.compiler.harness import Branch, forget, from_text, reloaded
from tests.unit.compiler.programs import Program

from raysume.compiler import compile_subflow, compile_workflow

EXAMPLES = int(os.environ.get("RAYSUME_FUZZ_EXAMPLES", "2000"))
TODAY = int(time.time()) // 86_400 if "RAYSUME_FUZZ_EXAMPLES" in os.environ else 0
SEED = int(os.environ.get("RAYSUME_FUZZ_SEED", str(1000 * TODAY)))
PARTS = 8
"""Tests that share the programs, so that they run beside each other."""
WAITS_MAX = 40


class A(Exception):
    pass


class B(Exception):
    pass


class Two(A):
    """Its arguments are not those of its `__init__`."""

    def __init__(self, first: object, second: object) -> None:
        super().__init__(f"{first}-{second}")
        self.second = second


class Thrown(A):
    pass


class Box:
    """Something with an attribute."""

    def __init__(self) -> None:
        self.value: object = 1

    def __repr__(self) -> str:
        return f"Box({self.value})"


class Log:
    """The effects of a run. There is one at a time, which saved state refers to."""

    current: Log

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.seen: Any = 0
        Log.current = self

    def append(self, entry: object) -> None:
        self.entries.append(repr(entry))

    def __reduce__(self) -> tuple[Any, ...]:
        return (_current_log, ())

    def __repr__(self) -> str:
        return "Log"


def _current_log() -> Log:
    return Log.current


def chain(error: object, depth: int = 0) -> object:
    """An exception with its causes and contexts, as plain values."""
    if not isinstance(error, BaseException) or depth > 6:
        return repr(error)
    return (
        type(error).__name__,
        repr(error.args),
        chain(error.__cause__, depth + 1),
        chain(error.__context__, depth + 1),
        error.__suppress_context__,
    )


def t(log: Log, value: object) -> object:
    log.append(("t", value))
    return value


def num(value: object) -> int:
    if isinstance(value, bool | int):
        return int(value)
    return len(cast(Sized, value)) if isinstance(value, str | list | tuple | dict) else 1


def lst(value: object) -> list[object]:
    return list(cast(Iterable[object], value)) if isinstance(value, list | tuple) else [value, 7]


def args(*values: object, **named: object) -> object:
    return values, named


@contextmanager
def logged(log: Log, value: object) -> Generator[object]:
    log.append(("enter", value))
    try:
        yield value
    except B:
        log.append("swallowed")
    finally:
        log.append("leave")


NAMES = {f.__name__: f for f in (A, B, Two, Box, chain, t, num, lst, args, logged)}


def _answers(seed: int) -> Iterator[tuple[str, Any]]:
    chosen = random.Random(seed)
    while True:
        if chosen.random() < 0.15:
            yield "throw", Thrown(chosen.randrange(9))
        else:
            yield "send", chosen.randrange(6)


def drive(member: Any, answers: int, reloads: Callable[[int], bool]) -> tuple[Any, ...]:
    """What a run did: its result or exception, the waits that it reached, and its effects."""
    log = Log.current
    branch = Branch(member)
    branch.start()
    waits: list[Any] = []
    for number, (how, value) in zip(range(WAITS_MAX), _answers(answers), strict=False):
        if branch.done:
            break
        waits.append(branch.waiting())
        if reloads(number):
            branch = reloaded(branch)
            assert branch.waiting() == waits[-1]
        branch.give(how, value)
    if not branch.done:
        branch.drop()
        return ("cut", waits, log.entries)
    return (repr(branch.result), chain(branch.error), waits, log.entries)


def unchanged(function: Any) -> Any:
    return function


def compare(text: str, answers: int) -> None:
    """Fails unless all ways of running the program agree."""
    plain = from_text(text, subflow=unchanged, **NAMES)
    durable = from_text(text, subflow=compile_subflow, **NAMES)
    try:
        definition = compile_workflow(durable["flow"], name="flow")
        expected = drive(plain["flow"](Log()), answers, lambda _: False)
        chosen = random.Random(answers)
        ways: dict[str, Callable[[int], bool]] = {
            "live": lambda _: False,
            "reloaded at every wait": lambda _: True,
            "reloaded at some waits": lambda _: chosen.random() < 0.4,
        }
        for way, reloads in ways.items():
            found = drive(definition(Log()), answers, reloads)
            assert found == expected, f"{way}, answers of seed {answers}:\n{text}"
    finally:
        forget(plain)
        forget(durable)


class _Drawn:
    def __init__(self, draw: Callable[..., Any]) -> None:
        self._draw = draw

    def number(self, low: int, high: int) -> int:
        found: int = self._draw(st.integers(low, high))
        return found


@st.composite
def programs(draw: Callable[..., Any]) -> str:
    return Program(_Drawn(draw)).text()


@pytest.mark.parametrize("part", range(PARTS))
def test_generated_programs_do_the_same_plain_compiled_and_reloaded(part: int) -> None:
    @seed(SEED + part)
    @settings(
        max_examples=EXAMPLES // PARTS,
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.filter_too_much,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
        ],
    )
    @given(text=programs(), answers=st.integers(0, 2**32))
    def agree(text: str, answers: int) -> None:
        compare(text, answers)

    agree()
