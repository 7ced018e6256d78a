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
