"""Several deployments on one engine: which methods they declare, and whose the names are."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from raysume.actors.deployed_workflows import DeployedWorkflow, live_modules, refuse_taken_names
from raysume.actors.known_methods import DeclaredMethod, DeployedMethods, KnownMethods
from raysume.actors.loading import Target
from raysume.actors.specs import PoolSpec
from raysume.errors import UsageError

DOCUMENTED = (Path(__file__).parents[3] / "docs" / "refusals.md").read_text()
LIVE = ("shop", "bank")
GENERATIONS = itertools.count(1)


def declared(service: str, urn: str = "orders.paid", **changes: Any) -> DeclaredMethod:
    plain: dict[str, Any] = {
        "urn": urn,
        "service": service,
        "module": service,
        "place": f"{service}.py:3",
        "implemented": True,
        "external": False,
        "local_only": False,
        "digest": "int",
        "input_schema": {"title": service},
        "output_schema": None,
    }
    return DeclaredMethod(**{**plain, **changes})


def stub(service: str, **changes: Any) -> DeclaredMethod:
    return declared(service, implemented=False, external=True, **changes)


def deploy(known: KnownMethods, module: str, *methods: DeclaredMethod, live: Any = LIVE) -> Any:
    """The deployment is checked and taken, as the directory does it; what is kept of it."""
    new = DeployedMethods(module=module, declared=list(methods))
    known.check(new, live)
    return known.take(new, next(GENERATIONS))


def entry(known: KnownMethods, urn: str = "orders.paid", live: Any = LIVE) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(known.entries(live)[urn])
    return found


def refusal(known: KnownMethods, module: str, *methods: DeclaredMethod, live: Any = LIVE) -> str:
    with pytest.raises(UsageError) as caught:
        known.check(DeployedMethods(module=module, declared=list(methods)), live)
    assert f"`{caught.value.details['rule']}`" in DOCUMENTED
    assert caught.value.details["rule"] == "signature-clash"
    return caught.value.message


def test_one_urn_with_another_signature_is_refused_naming_both_places() -> None:
    known = KnownMethods()
    deploy(known, "shop", declared("shop"))
    message = refusal(known, "bank", declared("bank", digest="str"))
    assert "'shop' declares it at shop.py:3" in message
    assert "'bank' at bank.py:3" in message
    assert "another URN" in message
    refusal(known, "bank", stub("bank", digest="str"))


def test_a_deployment_may_change_its_own_signature() -> None:
    known = KnownMethods()
    deploy(known, "shop", declared("shop"))
    deploy(known, "shop", declared("shop", digest="str"))
    refusal(known, "bank", declared("bank", digest="int"))


def test_code_that_two_deployments_share_changes_with_the_first_of_them_to_be_deployed() -> None:
    known = KnownMethods()
    library = declared("library", external=True)
    deploy(known, "shop", library)
    deploy(known, "bank", library)
    newer = declared("library", digest="str", input_schema={"title": "newer"})
    deploy(known, "shop", newer)
    assert entry(known)["input_schema"] == {"title": "newer"}
    assert entry(known)["external"] is False


def test_what_nobody_runs_any_more_stands_in_nobodys_way_and_stays_known() -> None:
    known = KnownMethods()
    deploy(known, "shop", declared("shop"), declared("shop", "orders.old"))
    refusal(known, "bank", declared("bank", digest="str"), live=["shop"])
    deploy(known, "bank", declared("bank", digest="str"), live=[])
    assert entry(known, live=["bank"])["service"] == "bank"
    assert entry(known, "orders.old", live=["bank"])["service"] == "shop"


def test_what_only_earlier_versions_declared_can_still_be_pushed() -> None:
    known = KnownMethods()
    deploy(known, "shop", declared("shop"), declared("shop", "orders.old"))
    deploy(known, "shop", declared("shop"))
    kept = deploy(known, "shop", declared("shop"))
    assert [one.urn for one in kept.former] == ["orders.old"]
    again = KnownMethods()
    again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(kept), type=DeployedMethods))
    assert entry(again, "orders.old")["service"] == "shop"


def test_whoever_implements_a_method_says_who_may_push_it_and_stubs_do_not() -> None:
    known = KnownMethods()
    deploy(known, "bank", stub("bank"))
    assert (entry(known)["service"], entry(known)["external"]) == ("bank", True)
    deploy(known, "shop", declared("shop"))
    found = entry(known)
    assert (found["service"], found["other_services"]) == ("shop", [])
    assert found["external"] is False
    assert found["input_schema"] == {"title": "shop"}


def test_services_that_both_implement_a_method_own_it_together() -> None:
    known = KnownMethods()
    deploy(known, "shop", declared("shop", external=True))
    deploy(known, "bank", declared("bank"))
    found = entry(known)
    assert (found["service"], found["other_services"]) == ("bank", ["shop"])
    assert found["external"] is True


def test_a_local_only_method_is_owned_by_those_who_say_so() -> None:
    known = KnownMethods()
    deploy(known, "shop", declared("shop", local_only=True))
    deploy(known, "bank", declared("bank", external=True))
    found = entry(known)
    assert (found["service"], found["other_services"]) == ("shop", [])
    assert (found["local_only"], found["external"]) == (True, False)


def test_methods_that_release_0_1_0_kept_are_known_until_they_are_declared_again() -> None:
    known = KnownMethods()
    old = {
        "urn": "orders.paid",
        "service": "old",
        "external": True,
        "local_only": False,
        "input_schema": {},
        "output_schema": {"type": "integer"},
    }
    known.restore_before([msgspec.json.encode(old)])
    assert entry(known, live=[]) == {**old, "other_services": []}
    deploy(known, "shop", declared("shop"))
    assert entry(known)["service"] == "shop"


# --- names of workflows ------------------------------------------------------------


def workflow(name: str, module: str, **facts: Any) -> DeployedWorkflow:
    given = {"service": module, "place": f"{module}.py:9", **facts}
    return DeployedWorkflow(
        pool=PoolSpec(
            workflow=name,
            version="1",
            target=Target(module=module, folder=None),
            methods=frozenset(),
        ),
        active=True,
        takes_new=True,
        entry=msgspec.json.encode(given),
    )


def check_names(new: list[DeployedWorkflow], deployed: list[DeployedWorkflow]) -> None:
    """What the directory does before it deploys."""
    live = live_modules(deployed, without={one.pool.workflow for one in new})
    refuse_taken_names(new, deployed, live=live)


def test_a_workflow_of_another_services_name_is_refused_naming_both_places() -> None:
    with pytest.raises(UsageError, match=r"'shop' defines it at shop\.py:9.*bank\.py:9") as caught:
        check_names([workflow("approval", "bank")], [workflow("approval", "shop")])
    assert caught.value.details["rule"] == "duplicate-workflow"


def test_a_new_version_of_a_deployments_own_workflow_is_none_of_another() -> None:
    check_names([workflow("approval", "shop", service="renamed")], [workflow("approval", "shop")])
    check_names([workflow("other", "bank")], [workflow("approval", "shop")])


def test_a_module_that_has_all_workflows_of_another_in_its_service_takes_its_place() -> None:
    old = [workflow("approval", "old"), workflow("refund", "old")]
    moved = [workflow("approval", "new", service="old"), workflow("refund", "new", service="old")]
    check_names(moved, old)
    with pytest.raises(UsageError, match=r"everything that was beside it.*RAYSUME_SERVICE=old"):
        check_names(moved[:1], old)
    inactive = msgspec.structs.replace(old[1], active=False)
    check_names(moved[:1], [old[0], inactive])


def test_what_a_release_without_services_deployed_may_move() -> None:
    check_names([workflow("approval", "new")], [workflow("approval", "old", service=None)])
