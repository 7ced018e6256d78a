"""The pytest plugin, in test runs of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

WORKFLOWS = """
from datetime import timedelta
from raysume import Depends, WaitTimeout, push_call, wait, workflow


@push_call("plugin.submitted")
def submit(order: int) -> bool:
    return order > 0


def get_limit() -> int:
    return 3


@workflow
async def approval(limit: int = Depends(get_limit)) -> str:
    call = await wait(submit).match_if(lambda call: call.output)
    if call.input.order > limit:
        raise ValueError("too many")
    return f"{call.input.order} of {limit}"
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """Runs a test file; gives what pytest printed."""
    (tmp_path / "flows.py").write_text(WORKFLOWS)

    def run_file(text: str, *options: str) -> str:
        (tmp_path / "test_flows.py").write_text(
            f"from flows import approval, get_limit, submit\n{text}"
        )
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        return ended.stdout

    return run_file


def test_the_fixture_makes_shells_for_a_block_or_for_the_test(run: Callable[..., str]) -> None:
    printed = run(
        """
async def test_for_the_test(shell):
    app = await shell(approval)
    await app.push(submit, order=1, output=True)
    assert [run.result for run in app.instances(approval)] == ["1 of 3"]

async def test_for_a_block(shell):
    async with shell(approval, reload=False) as first, shell(approval) as second:
        await first.push(submit, order=1, output=True)
        assert (len(first.instances()), len(second.instances())) == (1, 0)

async def test_with_a_stand_in(shell):
    async with shell(approval, overrides={get_limit: 9}) as app:
        await app.push(submit, order=9, output=True)
        assert app.instances()[0].result == "9 of 9"
"""
    )
    assert "3 passed" in printed


def test_an_error_points_at_the_line_of_the_test(run: Callable[..., str]) -> None:
    text = """
from raysume.testing import TestShell

async def test_wrong():
    async with TestShell(approval) as shell:
        await shell.push(submit, orders=1, output=True)
"""
    printed = run(text, "--tb=short")
    assert "has no parameter 'orders'" in printed
    lines = re.findall(r"(?m)^(\S+\.py):(\d+): ", printed)
    assert lines == [("test_flows.py", "7")]
    assert "shell.py" not in printed
    assert "shell.py" in run(text, "--tb=short", "--full-trace")


def test_a_failed_test_tells_which_instances_failed_and_where(run: Callable[..., str]) -> None:
    printed = run(
        """
from raysume.testing import TestShell

async def test_failing():
    async with TestShell(approval) as shell:
        await shell.push(submit, order=7, output=True)
        [run] = shell.instances(approval)
        assert run.result == "7 of 3"
"""
    )
    _, _, told = printed.partition("instances that failed")
    assert "failed: ValueError: too many" in told
    assert re.findall(r'File ".*/(\w+\.py)", line (\d+), in (\w+)', told) == [
        ("flows.py", "19", "approval")
    ]


PROGRAM = """
from datetime import timedelta
import pytest
from raysume import step, subflow, wait, workflow
from raysume.testing import TestShell

def charge(order):
    return 100 // order  # a step

@subflow
async def inner(order: int) -> None:
    raise LookupError("no stock")  # a subflow

@workflow
async def flow() -> str:
    order = (await wait(submit).match_if(lambda call: call.output)).input.order
    if order == 1:
        await inner(order)
    if order == 2:
        await wait(submit).match_if(lambda call: 1 // (call.input.order - 9))  # a match
    if order == 3:
        await wait(submit).match_any().after_match(
            lambda call: call.input.order // 0  # a callback
        )
    if order == 4:
        await step(charge, 0)
    return "done"

@workflow
async def taking(order: int) -> int:
    return order

@workflow
async def broken() -> None:
    raise LookupError("not configured")

async def _ends(order, stub=False):
    async with TestShell(flow) as shell:
        if stub:
            shell.stub(charge, raises=KeyError("no such card"))
        await shell.push(submit, order=order, output=True)
        await shell.push(submit, order=9, output=True)
        assert shell.instances()[0].result == "done"

async def test_subflow(): await _ends(1)
async def test_match(): await _ends(2)
async def test_callback(): await _ends(3)
async def test_step(): await _ends(4)
async def test_stub(): await _ends(4, stub=True)

async def test_before_the_first_wait():
    async with TestShell(broken) as shell:  # here
        pass

async def test_type_of_a_parameter():
    async with TestShell(flow) as shell:
        await shell.push(submit, order="many")  # here

async def test_type_of_the_output():
    async with TestShell(flow) as shell:
        await shell.push(submit, order=1, output="many")  # here

async def test_type_of_an_argument():
    async with TestShell(taking) as shell:
        await shell.start(taking, "many")  # here

async def test_the_clock_back():
    async with TestShell(taking) as shell:
        await shell.advance(timedelta(-1))  # here

async def test_no_time():
    wait(submit).timeout(timedelta(0))  # here

async def test_arguments_of_a_step():
    step(charge)  # here

async def test_no_workflow():
    TestShell(submit)  # here

async def test_called_wrongly():
    async with TestShell(flow) as shell:
        submit("many")
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[str], str]]:
    """By test: the lines of the user's files that it points at, in order, and all of its text."""
    folder = tmp_path_factory.mktemp("pointing")
    (folder / "flows.py").write_text(WORKFLOWS)
    (folder / "test_flows.py").write_text(f"from flows import submit\n{PROGRAM}")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    files = {
        name: (folder / name).read_text().splitlines() for name in ("test_flows.py", "flows.py")
    }
    found: dict[str, tuple[list[str], str]] = {}
    for name, text in re.findall(r"(?sm)^_+ (test_\w+) _+$(.*?)(?=^_+ test_|^===)", ended.stdout):
        places = re.findall(r'(?m)^(\S+\.py):(\d+): in|^  File "(\S+)", line (\d+)', text)
        pointed = [((a or c).rpartition("/")[2], int(b or d)) for a, b, c, d in places]
        assert all(file in files for file, _ in pointed), text
        found[name] = [files[file][line - 1].strip() for file, line in pointed], text
    return found


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("test_subflow", "failed: LookupError: no stock"),
        ("test_match", "match raised: ZeroDivisionError"),
        ("test_callback", "callback raised: the after_match callback"),
        ("test_step", "failed: StepFailed: step 'charge'"),
        ("test_stub", "KeyError: 'no such card'"),
    ],
)
def test_what_user_code_raised_in_an_instance_is_told_with_its_line(
    name: str, said: str, printed: dict[str, tuple[list[str], str]]
) -> None:
    pointed, text = printed[name]
    assert said in text
    wanted = {
        "test_subflow": 'raise LookupError("no stock")  # a subflow',
        "test_match": "await wait(submit).match_if(lambda call: 1 // (call.input.order - 9))  # a match",
        "test_callback": "lambda call: call.input.order // 0  # a callback",
        "test_step": "return 100 // order  # a step",
        "test_stub": "await step(charge, 0)",
    }
    assert wanted[name] in pointed


@pytest.mark.parametrize(
    "name",
    [
        *("test_before_the_first_wait", "test_type_of_a_parameter", "test_type_of_the_output"),
        *("test_type_of_an_argument", "test_the_clock_back", "test_no_time"),
        *("test_arguments_of_a_step", "test_no_workflow"),
    ],
)
def test_what_a_test_did_wrong_is_told_with_its_line(
    name: str, printed: dict[str, tuple[list[str], str]]
) -> None:
    assert printed[name][0][-1].endswith("# here")


def test_an_error_of_a_method_is_told_without_what_called_it(
    printed: dict[str, tuple[list[str], str]],
) -> None:
    assert printed["test_called_wrongly"][0] == ['submit("many")', "return order > 0"]
    before = printed["test_before_the_first_wait"][0]
    assert before[0] == 'raise LookupError("not configured")'
