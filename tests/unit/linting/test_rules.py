"""The other rules: what each tells of, and what it leaves alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.unit.linting.conftest import Lint

from raysume.linting.findings import RULES
from raysume.testing import TestShell


def flow(body: str, parameters: str = "n: int") -> str:
    return f"@workflow\nasync def flow({parameters}) -> None:\n    {body}"


# --- waits without a match -------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "await wait(submit)",
        "await wait(submit).timeout(timedelta(1))",
        "await any_of(wait(submit), wait(paid).match_any())",
        "while True:\n        await wait(submit)",
    ],
)
def test_a_first_wait_without_a_match_is_a_warning(lint: Lint, body: str) -> None:
    linted = lint(flow(body, ""))
    assert linted.rules == [("first-wait-without-match", "warning")]


@pytest.mark.parametrize(
    "text",
    [
        flow("await wait(submit)"),
        flow("await step(print)\n    if n:\n        await wait(submit)"),
        "@subflow\nasync def inner() -> None:\n    await wait(submit)\n\n\n"
        + flow("await wait(submit).match_any()\n    await inner()", ""),
        flow("if True:\n        await sleep(timedelta(1))\n        await wait(submit)", ""),
    ],
)
def test_a_wait_without_a_match_that_no_call_starts_at_is_an_error(lint: Lint, text: str) -> None:
    found = [one for one in lint(text).findings if one.rule != "wait-without-key"]
    assert [(one.rule, one.severity) for one in found] == [("later-wait-without-match", "error")]


async def test_what_is_said_of_waits_without_a_match_is_what_happens(lint: Lint) -> None:
    linted = lint(flow("await wait(submit)"))
    assert linted.module is not None
    async with TestShell(linted.module.flow) as shell:
        run = await shell.start(linted.module.flow, 1)
        assert run.status == "failed"
        assert "[later-wait-without-match]" in str(run.error)


@pytest.mark.parametrize(
    "text",
    [
        "@subflow\nasync def inner(n: int) -> None:\n    if n:\n        await sleep(timedelta(1))\n\n\n"
        + flow("await inner(0)\n    await wait(submit).match_any()", ""),
        flow("later = wait(submit)\n    await later.match(user='ann')"),
        flow("waits = [wait(submit)]\n    return", "n: int"),
    ],
)
def test_a_wait_that_may_be_matched_elsewhere_is_left_alone(lint: Lint, text: str) -> None:
    assert lint(text).findings == []


# --- from_now --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "is_found"),
    [
        ("while True:\n        await wait(paid).match(order=n).from_now()", True),
        ("for who in 'ab':\n        await wait(paid).match(payer=who).from_now()", True),
        ("await wait(paid).match(order=n).from_now()", False),
        ("for call in [await wait(paid).match(order=n).from_now()]:\n        pass", False),
        (
            "while True:\n        await wait(paid).match(order=n).from_now().since(instance().now)",
            False,
        ),
        ("while True:\n        await wait(paid).match(order=n)", False),
        (
            "while n:\n        n = 0\n    else:\n        await wait(paid).match(order=n).from_now()",
            False,
        ),
    ],
)
def test_from_now_in_a_loop_loses_calls(lint: Lint, body: str, is_found: bool) -> None:
    linted = lint("from raysume import instance\n\n\n" + flow(body))
    assert linted.rules == [("from-now-in-loop", "warning")] * is_found


# --- matches that do nothing -----------------------------------------------------


@pytest.mark.parametrize(
    ("chain", "said"),
    [
        (
            ".match_if(lambda call: call.input.amount > 1).match_if(lambda c: c.input.order == n)",
            "`.match_if(lambda call: call.input.amount > 1)` is replaced",
        ),
        (".match(order=n).match_any()", ".match_any() says nothing"),
        (".match_any().match_if(lambda call: call.input.order == n)", ".match_any() says nothing"),
    ],
)
def test_a_match_without_effect_is_told_of(lint: Lint, chain: str, said: str) -> None:
    found = lint(flow(f"await wait(paid){chain}")).only()
    assert (found.rule, found.severity) == ("match-without-effect", "warning")
    assert said in found.message


@pytest.mark.parametrize(
    "chain",
    [
        ".match_if(lambda c: c.input.order == n).match_if(lambda c: c.input.order == 1, when=n > 1)",
        ".match_if(lambda c: c.input.order == n, when=n > 3).match_any()",
        ".match(order=n).match(amount=3).match_if(lambda call: call.input.is_final)",
    ],
)
def test_matches_that_complete_each_other_are_left_alone(lint: Lint, chain: str) -> None:
    assert lint(flow(f"await wait(paid){chain}")).findings == []


# --- sleeping --------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "await asyncio.sleep(60)",
        "await asyncio.sleep(n)",
        "time.sleep(0.1)",
        "@subflow\n    async def inner() -> None:\n        time.sleep(1)\n    await inner()",
        "await asyncio.wait_for(asyncio.sleep(60), 3)",
    ],
)
def test_a_sleep_that_is_not_durable_is_told_of(lint: Lint, body: str) -> None:
    assert lint(flow(body)).rules == [("sleep-not-durable", "warning")]


@pytest.mark.parametrize(
    "body",
    [
        "await asyncio.sleep(0)",
        "await sleep(timedelta(seconds=n))",
        "await step(slow)",
        "def inner() -> None:\n        time.sleep(1)\n    await step(inner)",
    ],
)
def test_sleeping_in_steps_or_durably_is_left_alone(lint: Lint, body: str) -> None:
    slow = "def slow() -> None:\n    time.sleep(1)\n\n\n"
    assert lint(slow + flow(body)).findings == []


# --- comments --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("comment", "rules"),
    [
        ("# raysume: allow wait-without-key", []),
        ("# slow, but rare. raysume: allow wait-without-key", ["wait-without-key"]),
        ("# raysume: allow from-now-in-loop, wait-without-key", []),
        ("# raysume: allow from-now-in-loop", ["wait-without-key"]),
    ],
)
def test_a_comment_allows_what_it_names(lint: Lint, comment: str, rules: list[str]) -> None:
    linted = lint(f"""
        @workflow
        async def flow(n: int) -> None:
            await wait(paid).match_if(
                lambda call: call.input.amount > n  {comment}
            )
    """)
    assert [one.rule for one in linted.findings] == rules


def test_an_error_cannot_be_allowed(lint: Lint) -> None:
    linted = lint(flow("await wait(submit)  # raysume: allow later-wait-without-match"))
    assert linted.rules == [("later-wait-without-match", "error")]


# --- documentation ---------------------------------------------------------------


def test_every_rule_is_documented_and_told_of_somewhere() -> None:
    root = Path(__file__).parents[3]
    rows = re.findall(r"^\| `([a-z-]+)` \|", (root / "docs/lint.md").read_text(), re.MULTILINE)
    assert set(rows) == set(RULES)
    code = "".join(
        path.read_text() for path in (root / "sdk/linting").glob("*.py") if path.stem != "findings"
    )
    assert [rule for rule in RULES if f'"{rule}"' not in code] == []
