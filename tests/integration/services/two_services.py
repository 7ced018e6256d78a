"""A program of its own: two services on one development cluster; prints what became of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.integration.cluster.running import started_by, until

from raysume import Client
from raysume.client import Run
from raysume.errors import NotFound, RaysumeError, UsageError
from raysume.ids import instance_id_of
from raysume.serve_apps.development import Development

SERVICES = Path(__file__).parents[2] / "services"


def refusal_of(development: Development, file: Path) -> dict[str, str]:
    """By which rule the deployment is refused, and what is said."""
    try:
        development.deploy(file)
    except UsageError as error:
        return {"rule": str(error.details.get("rule")), "message": error.message}
    return {}


def result_of(client: Client, workflow: str, call: str) -> Any:
    """What the instance that the call started returned."""
    return started_by(client, workflow, call).result(timeout=60)


def is_there(client: Client, workflow: str, call: str) -> bool:
    """Whether the call started an instance of the workflow."""
    try:
        client.instance(instance_id_of(workflow, call), workflow)
    except NotFound:
        return False
    return True


def waits_for(run: Run[Any], name: str) -> bool | None:
    """True once the instance waits for what has this name."""
    return True if any(wait["name"] == name for wait in run.describe().waits) else None


def stages(client: Client, call: str) -> list[list[str]]:
    """How far the call came with each workflow."""
    return sorted([one.workflow, one.stage] for one in client.explain(call).waits)


def scenario(client: Client) -> dict[str, Any]:
    """What the two services see of each other."""
    found: dict[str, Any] = {}
    looking_back = client.start("storefront.looking_back", id="back", shelf=5)
    hidden = client.push("services.counted", input={"shelf": 5}, output=50)
    second = client.push("services.counted", input={"shelf": 6}, output=60)
    found["counting"] = result_of(client, "warehouse.counting", hidden)
    # A call that both services see comes after them: what they were to get, they have.
    named = client.push("services.123", input={"name": "Maria"}, output=5)
    found["names"] = [result_of(client, f"{one}.long_names", named) for one in SERVICE_NAMES]
    found["curious"] = is_there(client, "storefront.curious", hidden)
    found["stages"] = stages(client, second)
    client.push("services.123", input={"name": "look"}, output=4)
    until(lambda: waits_for(looking_back, "hidden"))
    third = client.push("services.counted", input={"shelf": 5}, output=51)
    [explained] = client.explain(third, "back").waits
    found["looking_back"] = [looking_back.status(), explained.stage]
    packed = {"parcel": {"number": 7, "to": "ann"}, "by": "eve"}
    call = client.push("services.packed", input=packed, output=True)
    found["packed"] = result_of(client, "storefront.by_external", call)
    found["service"] = sorted({call.service for call in client.calls("services.123")})
    return found


SERVICE_NAMES = ("warehouse", "storefront")
CLASH = """
from raysume import push_call, wait, workflow

@push_call("services.123")
def method_123(name: int) -> int:
    return name

@workflow
async def clashing() -> None:
    await wait(method_123).match_any()
"""
TWIN = """
from raysume import push_call, wait, workflow

@push_call("twin.called")
def called() -> None: ...

@workflow(name="warehouse.counting")
async def twin() -> None:
    await wait(called).match_any()
"""


def main(data_dir: Path) -> None:
    """Deploys the services, and prints what they did as one line of JSON."""
    warehouse = SERVICES / "warehouse.py"
    with Development(warehouse, data_dir=data_dir, port=0, dashboard=False) as development:
        development.deploy(SERVICES / "storefront.py")
        with development.client() as client:
            found = scenario(client)
            for name, source in (("clash", CLASH), ("twin", TWIN)):
                file = data_dir / f"{name}.py"
                file.write_text(source, encoding="utf-8")
                found[name] = refusal_of(development, file)
            found["workflows"] = sorted(one.name for one in client.workflows())
            try:
                client.push("services.124", input={"name": "Maria"})
            except RaysumeError as error:
                found["unknown"] = error.message
        development.deploy()  # again, with the other service beside it
        development.deploy(SERVICES / "storefront.py")
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
