"""The proof with real processes, shortened: it runs, does its faults, and finds nothing wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
KINDS = ("kill_pool", "kill_ingress", "kill_directory")
END_S = 1_200.0
"""A minute and a half on an idle machine."""


def test_a_short_load_loses_and_doubles_nothing_while_pool_ingress_and_directory_are_killed() -> (
    None
):
    words = ["--minutes", "0.4", "--rounds", "1", "--rate", "200", "--members", "1", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "scale_tests.faults", *words, "--kinds", *KINDS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=END_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert figures["kills"] == dict.fromkeys(sorted(KINDS), 1)
    assert figures["acknowledged"] > 500
    assert figures["instances"] > 50
    assert [figures[name] for name in ("lost", "doubled", "disordered", "stuck")] == [0, 0, 0, 0]
