"""Two services on one engine: what they see of each other's methods, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cluster.running import clean_environment

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("two_services.py")
LIMIT_S = 300


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the two services did on a cluster of their own."""
    folder = tmp_path_factory.mktemp("services")
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder / "data")],
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd=folder,
        env=clean_environment(PYTHONPATH=str(ROOT)),
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.row(57)
def test_a_stub_wakes_for_calls_of_what_another_service_implements(found: dict[str, Any]) -> None:
    assert found["packed"] == "7 by eve: True"
    # What both know is of the service that implements it, not of the one with a stub.
    assert found["service"] == ["warehouse"]


@pytest.mark.row(58)
def test_an_external_push_wakes_workflows_of_both_services(found: dict[str, Any]) -> None:
    assert found["names"] == ["warehouse Maria", "storefront Maria"]


@pytest.mark.row(59)
def test_a_push_under_an_unknown_urn_is_refused_with_what_is_close(found: dict[str, Any]) -> None:
    assert "no method 'services.124'" in found["unknown"]
    assert "'services.123'" in found["unknown"]


@pytest.mark.row(60)
def test_local_only_calls_are_seen_by_their_own_service_alone(found: dict[str, Any]) -> None:
    assert found["counting"] == [50, 60]
    assert found["curious"] is False
    assert ["storefront.curious", "local"] in found["stages"]
    assert ["warehouse.counting", "met"] in found["stages"]
    assert found["looking_back"] == ["waiting", "local"]


def test_a_deployment_with_another_signature_is_refused_with_both_places(
    found: dict[str, Any],
) -> None:
    assert found["clash"]["rule"] == "signature-clash"
    for place in ("warehouse.py:", "clash.py:"):
        assert place in found["clash"]["message"]
    assert "clashing" not in found["workflows"]


def test_a_deployment_with_a_workflow_of_another_ones_name_is_refused_with_both_places(
    found: dict[str, Any],
) -> None:
    assert found["twin"]["rule"] == "duplicate-workflow"
    for place in ("warehouse.py:", "twin.py:"):
        assert place in found["twin"]["message"]
    assert len(found["workflows"]) == len(set(found["workflows"]))
