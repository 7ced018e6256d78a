"""The business samples deploy together, and each of them alone."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import samples
from raysume.deployments import collect

EXAMPLES = Path(samples.__file__).parent
ALONE = {
    "samples_invitations": "invite_all",
    "samples_onboarding": "Onboarding.run",
    "samples_orders": "order_review",
    "samples_projects": "project_approval",
    "samples_requests": "RequestApproval.run",
    "samples_trips": "book_trip",
    "samples_votes": "board_approval",
}
LINES_MAX = 150


def test_all_samples_are_in_one_deployment() -> None:
    assert set(collect(samples).workflows) == set(ALONE.values())
    files = {path.stem for path in EXAMPLES.glob("samples_*.py")}
    assert files == {*ALONE, "samples_letters"}


@pytest.mark.parametrize("name", ALONE)
def test_a_sample_deploys_alone_and_is_read_in_a_minute(name: str) -> None:
    deployed = collect(importlib.import_module(name))
    assert list(deployed.workflows) == [ALONE[name]]
    lines = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LINES_MAX
