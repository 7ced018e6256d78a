"""Waits, sleeps, groups and steps are values: built, checked, kept, pickled."""

# ruff: noqa: ARG001 - functions that exist for their signatures
from __future__ import annotations

import asyncio
import functools
import pickle
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from raysume import (
    Retry,
    all_of,
    any_of,
    group,
    push_call,
    sleep,
    sleep_until,
    step,
    step_key,
    wait,
)
from raysume.durable import Durable
from raysume.errors import UsageError
from raysume.groups import First, GroupResult
from raysume.steps import InvalidArguments, Step, current_step
from raysume.waits import Sleep, Wait

HOUR = timedelta(hours=1)
NOON = datetime(2124, 5, 6, 12, tzinfo=UTC)


@push_call("waits.event")
def event(number: int, text: str = "") -> bool:
    return True


def says_yes(call: Any) -> bool:
    return bool(call.output)


def runs(*_: Any) -> None: ...


def undoes() -> None: ...


def charge(amount: int, *, currency: str = "EUR") -> int:
    return amount


def test_every_method_of_a_wait_returns_another_wait() -> None:
    first = wait(event, "approval")
    second = (
        first.match(number=1)
        .match_if(says_yes)
        .timeout(HOUR)
        .from_now()
        .exclusive()
        .after_match(runs)
        .when_cancelled(undoes)
        .match_any()
    )
    assert (first.fields, first.predicate, first.limit, first.mailbox) == (
        (),
        None,
        None,
        "mailbox",
    )
    assert (second.name, second.method) == ("approval", event)
    assert second.fields == (("input.number", 1),)
    assert second.predicate is says_yes
    assert second.limit == HOUR
    assert second.mailbox == "from_now"
    assert second.is_exclusive
    assert second.matches_any
    assert second.on_match is runs
    assert second.on_cancel is undoes
    assert first.since(NOON).mailbox == NOON


def test_matches_are_joined_and_the_last_predicate_set_wins() -> None:
    built = wait(event).match(number=1).match(text="x").match_if(says_yes).match_if(runs)
    assert built.fields == (("input.number", 1), ("input.text", "x"))
    assert built.predicate is runs
    assert built.match_if(says_yes, when=False).predicate is runs
    assert built.match_if(says_yes, when=True).predicate is says_yes


@pytest.mark.parametrize(
    "value",
    [
        wait(event, "n").match(number=1).match_if(says_yes).timeout(HOUR).since(NOON),
        sleep(HOUR),
        sleep_until(NOON),
        all_of(sleep(HOUR), wait(event)).timeout(HOUR),
        group(wait(event, "a"), any_of(sleep(HOUR))).until(says_yes),
        step(charge, 5, currency="USD", retry=Retry(max_attempts=2), timeout=HOUR, name="pay"),
        First(0, "n", 3),
        GroupResult(completed=1, results={"a": 1}, pending=(2,)),
        Retry(max_attempts=3, give_up_on=(ValueError,)),
    ],
    ids=repr,
)
def test_durable_values_are_kept_across_waits(value: Any) -> None:
    back = pickle.loads(pickle.dumps(value, protocol=5))
    assert type(back) is type(value)
    assert _contents(back) == _contents(value)


def _contents(value: Any) -> Any:
    if isinstance(value, Durable):
        slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
        return [(name, _contents(getattr(value, name))) for name in slots]
    if isinstance(value, tuple):
        return [_contents(item) for item in cast(Iterable[Any], value)]
    return value


def test_sleeps_need_a_time_above_zero_and_a_zone() -> None:
    for bad in (timedelta(0), timedelta(seconds=-1)):
        with pytest.raises(ValueError, match="above zero"):
            sleep(bad)
        with pytest.raises(ValueError, match="above zero"):
            wait(event).timeout(bad)
        with pytest.raises(ValueError, match="above zero"):
            all_of(sleep(HOUR)).timeout(bad)
    with pytest.raises(ValueError, match="time zone"):
        sleep_until(datetime(2024, 1, 1))
    with pytest.raises(ValueError, match="time zone"):
        wait(event).since(datetime(2024, 1, 1))
    with pytest.raises(UsageError, match="timedelta"):
        sleep(5)  # type: ignore[arg-type]
    assert (Sleep(delay=HOUR).delay, sleep_until(NOON).until) == (HOUR, NOON)


def test_groups_hold_their_members_in_order() -> None:
    one, two = wait(event, "one"), sleep(HOUR)
    three = step(charge, 1)
    assert all_of(one, two, three).members == (one, two, three)
    assert (all_of(one).kind, any_of(one).kind, group(one).kind) == ("all", "any", "until")
    assert group(one, two, three).names() == ("one", 1, 2)
    assert group(one).until(says_yes).filter is says_yes
    assert any_of(one).timeout(HOUR).limit == HOUR


async def plain_coroutine() -> None: ...


@pytest.mark.parametrize("make", [all_of, any_of, group])
def test_members_that_are_not_durable_are_refused(make: Any) -> None:
    with pytest.raises(UsageError, match="no members"):
        make()
    with pytest.raises(UsageError, match=r"member 1 of .* is None"):
        make(sleep(HOUR), None)
    with pytest.raises(UsageError, match=r"plain_coroutine.*@subflow"):
        make(plain_coroutine())
    with pytest.raises(UsageError, match="one by one"):
        make([sleep(HOUR)])
    with pytest.raises(UsageError, match="member 0"):
        make(5)


def test_two_members_of_a_group_need_two_names() -> None:
    with pytest.raises(UsageError, match="'same'"):
        group(wait(event, "same"), wait(event, "same"))
    with pytest.raises(UsageError, match="any_of"):
        any_of(sleep(HOUR)).until(says_yes)  # type: ignore[misc]


@pytest.mark.parametrize(
    "make",
    [lambda: wait(event), lambda: sleep(HOUR), lambda: all_of(sleep(HOUR)), lambda: step(runs)],
)
def test_a_durable_thing_awaited_outside_a_workflow_is_refused(make: Any) -> None:
    async def outside() -> None:
        await make()

    with pytest.raises(UsageError, match="outside a workflow"):
        asyncio.run(outside())


def test_a_step_holds_its_call() -> None:
    made: Any = step(charge, 5, currency="USD", compensate=runs, ray={"num_gpus": 1})
    assert isinstance(made, Step)
    assert (made.function, made.args, made.kwargs) == (charge, (5,), {"currency": "USD"})
    assert (made.compensate, made.ray, made.retry, made.time_limit) == (
        runs,
        {"num_gpus": 1},
        None,
        None,
    )
    assert made.label == "charge"
    assert step(functools.partial(charge, 5)).label == "charge"


def test_arguments_of_a_step_are_checked_against_its_function() -> None:
    for wrong in (
        lambda: step(charge),  # type: ignore[call-overload]
        lambda: step(charge, 1, 2),  # type: ignore[call-overload]
        lambda: step(charge, 1, unit="EUR", name="n"),
    ):
        with pytest.raises(InvalidArguments, match="charge"):
            wrong()
        with pytest.raises(TypeError):
            wrong()


def test_what_is_not_a_function_cannot_be_a_step() -> None:
    with pytest.raises(UsageError, match=r"step\(fn, x\)"):
        step(charge(1))  # type: ignore[call-overload]
    with pytest.raises(UsageError, match=r"step\(fn, x\)"):
        step(plain_coroutine())  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="await it directly"):
        step(sleep, HOUR)
    with pytest.raises(UsageError, match="Retry"):
        step(runs, retry=3)  # type: ignore[call-overload]


def test_pauses_between_attempts_grow_up_to_their_maximum() -> None:
    retry = Retry(max_attempts=9, initial=HOUR, backoff=2.0, maximum=5 * HOUR, jitter=False)
    assert [retry.delay_after(n, 0.5) for n in (1, 2, 3, 4)] == [
        HOUR,
        2 * HOUR,
        4 * HOUR,
        5 * HOUR,
    ]
    assert retry.delay_after(100_000, 0.0) == 5 * HOUR


def test_jitter_takes_away_up_to_half_of_a_pause() -> None:
    retry = Retry(max_attempts=2, initial=HOUR)
    assert retry.maximum == timedelta(minutes=5)
    longer = Retry(max_attempts=2, initial=HOUR, maximum=HOUR)
    assert longer.delay_after(1, 0.0) == HOUR / 2
    assert HOUR / 2 < longer.delay_after(1, 0.99) < HOUR


def test_retrying_ends_with_the_attempts_and_with_errors_it_cannot_cure() -> None:
    retry = Retry(max_attempts=3, give_up_on=(LookupError,))
    assert not retry.gives_up(2, ValueError())
    assert retry.gives_up(3, ValueError())
    assert retry.gives_up(1, KeyError())
    mistakes: list[dict[str, Any]] = [
        {"max_attempts": 0},
        {"max_attempts": 1, "backoff": 0.5},
        {"max_attempts": 1, "initial": -HOUR},
    ]
    for wrong in mistakes:
        with pytest.raises(ValueError, match="Retry"):
            Retry(**wrong)


def test_the_step_key_is_known_only_inside_a_step() -> None:
    with pytest.raises(UsageError, match="inside a function"):
        step_key()
    token = current_step.set("i/1.2")
    assert step_key() == "i/1.2"
    current_step.reset(token)


def test_the_compiler_can_tell_what_is_durable() -> None:
    for function in (wait, sleep, sleep_until, step, all_of, any_of, group):
        assert function.__raysume_durable__ is True  # type: ignore[union-attr]
    kinds: dict[type[Durable], str] = {Wait: "wait", Sleep: "sleep", Step: "step"}
    assert all(kind.durable_kind == name for kind, name in kinds.items())
