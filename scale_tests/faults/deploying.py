"""Deploys the workflows and the ingress on a running cluster, as a driver of its own that ends.

    python -m scale_tests.faults.deploying JSON

Everything that it makes is detached, and goes on when it has ended.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from raysume.actors.deploying import described
from raysume.actors.directory import directory_actor
from raysume.actors.loading import Target, load
from raysume.actors.specs import NAMESPACE, EngineSpec
from raysume.actors.untyped import ray, serve
from raysume.serve_apps.patience import patiently

WORKFLOWS = Path(__file__).with_name("workflows.py")

CHECKPOINT_INTERVAL_S = 2.0
"""Faults shall meet checkpoints, so there are many."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is deployed, and where."""

    address: str
    """Of the cluster."""
    data_dir: str
    database_url: str | None
    """None: SQLite in the data directory."""
    port: int
    """Of the ingress."""
    token: str
    replicas: int
    """Of the ingress."""
    members: int
    """Of each pool."""


def deploy(wanted: Wanted) -> None:
    """The engine serves on the port."""
    from raysume.serve_apps.ingress.deployment import IngressDeployment

    engine = EngineSpec(
        data_dir=wanted.data_dir,
        database_url=wanted.database_url,
        pool_members=wanted.members,
        checkpoint_interval_s=CHECKPOINT_INTERVAL_S,
        service="faults",
    )
    ray.init(
        address=wanted.address,
        namespace=NAMESPACE,
        log_to_driver=False,
        configure_logging=False,
    )
    target = Target.of(WORKFLOWS)
    paths = [str(Path.cwd()), str(Path(sys.argv[0]).resolve().parent), ""]
    directory = directory_actor(engine, paths)
    ray.get(directory.deploy.remote(*described(load(target), target)))
    options = {"host": "127.0.0.1", "port": wanted.port}
    patiently(lambda: serve().start(proxy_location="HeadOnly", http_options=options))
    ingress = IngressDeployment.options(num_replicas=wanted.replicas)
    bound = ingress.bind(msgspec.msgpack.encode(engine), wanted.token)
    patiently(lambda: serve().run(bound, name="raysume", route_prefix="/"))
    ray.shutdown()


if __name__ == "__main__":
    deploy(msgspec.json.decode(sys.argv[1], type=Wanted))
