"""The client of a simulated cluster: it pushes and starts, again and again until it is answered."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from tests.simulation.checking import require
from tests.simulation.workloads import Item, Push, Start

from raysume.actors.kernel.deliveries import StartRequest
from raysume.errors import ShardMoved, Unavailable
from raysume.storage.call_ports import Batch, NewCall, Publisher

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster


class Client:
    """Does one batch of the workload after the other."""

    def __init__(self, cluster: Cluster, batches: list[list[Item]]) -> None:
        self.cluster = cluster
        self.is_done = False
        self.acknowledged: list[str] = []
        """Ids of calls whose acceptance it was told."""
        self._batches = list(batches)
        self._gives_ids = cluster.rng.random() < 0.5
        self._sequence = 1
        self._created: Counter[str] = Counter()

    def begin(self) -> None:
        """It works in a process of its own, which never dies."""
        loop = self.cluster.loop
        with loop.within(loop.process("client")):
            loop.create_task(self._work())

    async def _work(self) -> None:
        for items in self._batches:
            pushes = [item for item in items if isinstance(item, Push)]
            if pushes:
                await self._push(pushes)
            for item in items:
                if isinstance(item, Start):
                    await self._start(item)
            await self.cluster.loop.passing(self.cluster.rng.uniform(0.0, 2.0))
        self.is_done = True

    async def _push(self, pushes: list[Push]) -> None:
        calls = [
            NewCall(
                id=self.cluster.new_id(),
                method=push.method.urn,
                service="simulation",
                input=json.dumps(push.input).encode(),
                output=json.dumps(push.output).encode(),
                client_id=self._gives_ids,
            )
            for push in pushes
        ]
        publisher = None if self._gives_ids else Publisher(id="client", first=self._sequence)
        self._sequence += len(calls)
        while True:
            replica = self.cluster.rng.choice(self.cluster.replicas)
            try:
                accepted = await replica.accept(Batch(calls=calls, publisher=publisher))
            except Unavailable:
                await self.cluster.loop.passing(self.cluster.rng.uniform(0.05, 1.0))
                continue
            require("conflict" not in accepted.outcomes, "a retry was taken for a conflict")
            self.acknowledged += [call.id for call in calls]
            return

    async def _start(self, start: Start) -> None:
        member = next(m for m in self.cluster.members if m.workflow.name == "simulation.fulfil")
        request = StartRequest(
            workflow="simulation.fulfil",
            id=start.key,
            input=json.dumps(start.arguments).encode(),
            at_us=self.cluster.now_us,
        )
        while True:
            try:
                answer = await member.start(request)
            except (Unavailable, ShardMoved):
                await self.cluster.loop.passing(self.cluster.rng.uniform(0.05, 1.0))
                continue
            self._created[answer.id] += answer.created
            require(self._created[answer.id] <= 1, f"{answer.id} was created twice")
            return
