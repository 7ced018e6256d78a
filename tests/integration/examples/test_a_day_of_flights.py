"""One real day through a real engine: with its shards killed, and with everything killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[3]
REPLAY = [sys.executable, str(ROOT / "examples" / "flights.py")]
LIMIT_S = 240


def replay(folder: Path, *options: str) -> str:
    """The replay's output; its exit code was 0."""
    done = subprocess.run(
        [*REPLAY, "--data", str(folder), *options],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        cwd=folder.parent,
    )
    assert done.returncode == 0, done.stdout
    assert "NOT true" not in done.stdout
    assert done.stdout.count("true: ") == 5
    return done.stdout


def kill_in_mid_day(folder: Path, accepted: int) -> int:
    """A replay was begun; it and every process of its engine got SIGKILL; calls noted by then."""
    begun = subprocess.Popen(
        [*REPLAY, "--data", str(folder), "--pace", "300"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder.parent,
    )
    note = folder / "flights-replay.json"
    while not (note.exists() and json.loads(note.read_text())["accepted"] >= accepted):
        try:
            code = begun.wait(timeout=0.1)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"the replay ended before it could be killed: exit {code}")
    root = psutil.Process(begun.pid)
    everything = [root, *root.children(recursive=True)]
    for process in everything:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    begun.wait()
    psutil.wait_procs(everything[1:], timeout=30)
    return int(json.loads(note.read_text())["accepted"])


def test_three_kills_of_the_shards_lose_no_call_and_double_no_turn(tmp_path: Path) -> None:
    assert "killed 3 times" in replay(tmp_path / "day", "--kill")


def test_a_day_whose_machine_was_stopped_is_finished_after_the_restart(tmp_path: Path) -> None:
    folder = tmp_path / "day"
    assert 900 <= kill_in_mid_day(folder, 900) < 2_000
    replay(folder, "--resume")
