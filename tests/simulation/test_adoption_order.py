"""What several dead replicas left is told in the order in which it was accepted.

Seed 105 of the cluster found it: adopted in the order of their random ids, a later partition was
applied first, and an instance never got the calls of the earlier one.
"""

from __future__ import annotations

from raysume import ids
from raysume.serve_apps.ingress.adoption import adopt
from raysume.storage.call_ports import Batch, NewCall
from raysume.storage.memory.calls import MemoryCallLog


def test_partitions_are_adopted_in_the_order_of_their_calls() -> None:
    log = MemoryCallLog()
    opened = [log.open_partition(owner="somebody who is gone").id for _ in range(8)]
    opened.sort(reverse=True)  # the log lists them by id
    for partition in opened:
        call = NewCall(id=ids.uuid7(), method="a.b", service="a", input=b"{}")
        log.append(partition, [Batch(calls=[call])])
    adopted = adopt(log)
    assert [one.id for one in adopted] == opened
    assert not any(one.open for one in adopted)
