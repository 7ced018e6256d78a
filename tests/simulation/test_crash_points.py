"""Named crash points: where they are, and that an armed one ends the process it was meant for."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from raysume import crash_points
from raysume.crash_points import POINTS, arm, crash_point, reached, watch
from raysume.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
PRODUCT = ("sdk", "storage", "actors", "serve_apps")

WALKER = """
import sys
from raysume.crash_points import crash_point
print("ready", flush=True)
for line in sys.stdin:
    crash_point(line.strip())
    print("passed", flush=True)
"""
"""Passes the points that it is told to pass."""


def walker(**environment: str) -> subprocess.Popen[str]:
    """A process that passes points as it is told, once it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", WALKER],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def passes(process: subprocess.Popen[str], name: str) -> bool:
    """Whether the process survives the point."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{name}\n")
    process.stdin.flush()
    return process.stdout.readline() == "passed\n"


def end(process: subprocess.Popen[str]) -> int:
    """How the process ended: nothing is left of it."""
    with process:
        assert process.stdin is not None
        process.stdin.close()
        return process.wait()


def test_every_point_is_passed_in_exactly_one_place() -> None:
    found = Counter(
        name
        for folder in PRODUCT
        for path in (ROOT / folder).rglob("*.py")
        for name in re.findall(r'crash_point\("([a-z_]+)"\)', path.read_text(encoding="utf-8"))
    )
    assert found == Counter(POINTS.keys())


def test_a_point_of_the_environment_ends_the_process_at_its_nth_passing() -> None:
    process = walker(**{crash_points.ENVIRONMENT: "after_append:2,before_send"})
    assert passes(process, "after_append")
    assert passes(process, "after_commit")
    assert not passes(process, "after_append")
    assert end(process) == -signal.SIGKILL


def test_a_file_arms_a_point_of_a_running_process_and_of_no_other(tmp_path: Path) -> None:
    first, second = (walker(**{crash_points.FOLDER: str(tmp_path)}) for _ in range(2))
    assert passes(first, "after_commit")
    armed = arm(tmp_path, "after_commit", nth=2, pid=second.pid)
    assert passes(first, "after_commit")
    assert passes(second, "after_commit")
    assert passes(first, "after_commit")
    assert not passes(second, "after_commit")
    assert not armed.exists()
    assert reached(tmp_path) == [(second.pid, "after_commit")]
    assert (end(first), end(second)) == (0, -signal.SIGKILL)


def test_a_point_armed_for_any_process_ends_only_the_first_that_gets_there(tmp_path: Path) -> None:
    first, second = (walker(**{crash_points.FOLDER: str(tmp_path)}) for _ in range(2))
    arm(tmp_path, "before_answer")
    assert passes(second, "after_answer")
    assert not passes(second, "before_answer")
    assert passes(first, "before_answer")
    assert (end(first), end(second)) == (0, -signal.SIGKILL)
    arm(tmp_path, "before_answer").unlink()


def test_a_point_that_does_not_exist_is_refused_where_it_is_armed(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no crash point 'after_lunch'"):
        arm(tmp_path, "after_lunch")


def test_a_hook_hears_of_points_only_inside_its_block() -> None:
    heard: list[str] = []
    with watch(heard.append):
        crash_point("after_apply")
    crash_point("after_release")
    assert heard == ["after_apply"]
