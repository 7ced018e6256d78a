"""Ingress replicas that nobody asks anything: they still look at what others left behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from tests.simulation import workflows
from tests.simulation.clients import Client
from tests.simulation.cluster import Cluster
from tests.simulation.faults import Faults
from tests.simulation.seeds import be_silent
from tests.simulation.workloads import Workload

from raysume.errors import Unavailable
from raysume.storage.call_ports import Batch, NewCall


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    be_silent()
    yield
    structlog.reset_defaults()


class LastWords(Client):
    """Pushes to a replica that was replaced, which dies of it; nobody pushes anything after that."""

    async def _work(self) -> None:
        cluster, replica = self.cluster, self.cluster.replicas[0]
        await cluster.loop.passing(3.0)
        process, acceptor = replica.process, replica.acceptor
        assert process is not None
        assert acceptor is not None
        replica.replace()
        await cluster.loop.passing(3.0)
        method = workflows.added.urn
        call = NewCall(id=cluster.new_id(), method=method, service="s", input=b'{"key":"k","n":1}')
        with pytest.raises(Unavailable):
            await cluster.ask(process, lambda: acceptor.accept(Batch(calls=[call])))
        self.is_done = True


@pytest.mark.parametrize("replicas", [1, 2])
def test_what_a_replaced_replica_accepted_last_reaches_the_pools_though_all_others_idle(
    replicas: int,
) -> None:
    cluster = Cluster(1, faults=Faults(replicas=replicas, point="after_append", favourite=1.0))
    cluster.workload = Workload()
    cluster.client = LastWords(cluster, [])
    cluster.run()
    assert cluster.crashes == {"after_append": 1}
    [(partition, end)] = cluster.ends.items()
    assert end == 1
    members: list[Any] = [*cluster.members]
    assert [member.host.kernel.watermarks for member in members] == [{partition: 1}] * len(members)
