"""Explains what became of a call: by the very tests that matching makes, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from raysume import ids, limits
from raysume.actors.kernel.branches import WaitLeaf, path_to
from raysume.actors.kernel.deliveries import DeliveredCall
from raysume.actors.kernel.index import verdict_of
from raysume.actors.kernel.instances import Instance
from raysume.actors.kernel.mailboxes import is_late_enough, key_met
from raysume.actors.kernel.moments import moment
from raysume.actors.kernel.records import InstanceRecord, WaitRecord
from raysume.actors.kernel.status import FINISHED, Status
from raysume.actors.kernel.trees import tree_of
from raysume.call import Call
from raysume.explanations import Comparison, Stage, WaitExplained
from raysume.matching import Parsed
from raysume.matching.comparing import comparisons_of

if TYPE_CHECKING:
    from raysume.actors.kernel.kernel import Kernel
    from raysume.waits import Wait


def explain(
    kernel: Kernel,
    item: DeliveredCall,
    instance: Instance | None = None,
    *,
    then: InstanceRecord | None = None,
) -> list[WaitExplained]:
    """How far the call came with every wait of the workflow, or of one instance.

    Args:
        item: an accepted call with its place in the log.
        instance: the only one to look at; None: all in memory, within limits.
        then: where that one stood when the call came, if it is known.
    """
    asking = _Explainer(kernel, item)
    if instance is not None:
        return asking.of_instance(instance, then)
    found = asking.of_receivers()
    taken = {one.instance for one in found}
    for entry in islice(kernel.index.entries_for(asking.parsed), limits.EXPLAIN_WAITS_MAX):
        holder = entry.holder
        if isinstance(holder, Instance) and holder.id not in taken:
            found.append(asking.of_wait(holder, entry.wait))
    found.extend(asking.of_standing(any_met=bool(taken)))
    return found


class _Explainer:
    def __init__(self, kernel: Kernel, item: DeliveredCall) -> None:
        self.kernel, self.item = kernel, item
        self.place = (item.pos, item.offset)
        self.call: Call[Any, Any] = Call.of(item.call, kernel.methods(item.call.method))
        self.parsed = Parsed(item.call, kernel.methods(item.call.method))
        self.started = ids.instance_id_of(kernel.workflow.name, item.call.id)

    def of_receivers(self) -> list[WaitExplained]:
        """The instances that the call started, or that received it; of the newest in memory."""
        newest = self.kernel.instances.newest_first()
        found = [
            self._said(one, "met", self._how_received(one))
            for one in islice(newest, limits.EXPLAIN_INSTANCES_MAX)
            if self._has_received(one)
        ]
        if self.started in self.kernel.ended:
            found.append(
                WaitExplained(
                    workflow=self.kernel.workflow.name,
                    version=self.kernel.version,
                    instance=self.started,
                    stage="met",
                    reason="the call started this instance, which has ended.",
                )
            )
        return found

    def of_instance(self, instance: Instance, then: InstanceRecord | None) -> list[WaitExplained]:
        """Every wait of the instance for the method, now or when the call came, or why it has none."""
        if self._has_received(instance):
            return [self._said(instance, "met", self._how_received(instance))]
        over = instance.status in FINISHED
        waits = [w for w in instance.waits.values() if w.method == self.item.call.method]
        if waits and not over:
            return [self.of_wait(instance, wait) for wait in waits]
        past = [] if then is None else list(self._of_past(instance, then))
        return past or [self._of_none(instance, then)]

    def _of_past(self, instance: Instance, then: InstanceRecord) -> Iterator[WaitExplained]:
        """The waits that the instance had for the method when the call came, and that said no."""
        standing = Instance.of(then, shard=instance.shard)
        for wait in then.waits:
            if wait.method != self.item.call.method:
                continue
            stage, reason = self._matched(wait)
            if stage != "met":
                said = f"of the wait that it had when the call came, {reason}"
                yield self._said(instance, stage, said, wait, self._wait_of(standing, wait))

    def _of_none(self, instance: Instance, then: InstanceRecord | None) -> WaitExplained:
        """Why no wait of the instance can be told."""
        if instance.status in FINISHED:
            ended = f"the instance was {instance.status} at {moment(instance.updated_us)}"
            if instance.updated_us > self.item.call.at_us:
                ended += ", and had not come to a wait that the call meets"
            if then is not None:
                stood = ", ".join(sorted({wait.method for wait in then.waits})) or "no call"
                ended += f"; when the call came it was waiting for {stood}"
            return self._said(instance, "ended", ended + ".")
        if not self.item.call.is_seen_by(self.kernel.service):
            return self._said(instance, "local", self._why_hidden())
        others = ", ".join(sorted({wait.method for wait in instance.waits.values()}))
        reason = (
            f"it is not waiting for {self.item.call.method!r} now, but for {others or 'no call'}; "
            "the call is kept for it within the mailbox's window."
        )
        return self._said(instance, "waiting", reason)

    def of_wait(self, instance: Instance, wait: WaitRecord) -> WaitExplained:
        """The first test that fails for the wait of an instance."""
        stage, reason = self._tried(instance, wait)
        return self._said(instance, stage, reason, wait, self._wait_of(instance, wait))

    def _tried(self, instance: Instance, wait: WaitRecord) -> tuple[Stage, str]:
        if instance.status is Status.FAILED:
            return "ended", "the instance has failed; retry it, and its waits count again."
        stage, reason = self._matched(wait)
        if stage != "met":
            return stage, reason
        key = key_met(wait, self.item, self.kernel.methods)
        if not is_late_enough(wait, self.item):
            since = moment(wait.since_us or 0)
            further = "" if wait.before_start else " Use .since(moment) to go further back."
            return "mailbox", (
                f"it came at {self.call.at}, and the wait takes calls since {since}.{further}"
            )
        if self.place <= instance.mailbox.horizon and not wait.before_start:
            return "mailbox", (
                f"it came before the instance started at {moment(instance.started_us)}. "
                "Use .since(moment) to take earlier calls."
            )
        if key is None or not instance.mailbox.is_open(wait, key, self.place):
            return "mailbox", "the instance has received a later call of this match already."
        if self.kernel.knows(self.started):
            return "mailbox", "it started an instance, and so is in no other one's mailbox."
        if wait.exclusive and self.kernel.exclusives.is_taken(self.place):
            return "exclusive", "it went to another instance, which waited longer."
        return "met", "it matches, and the wait receives it next."

    def _matched(self, wait: WaitRecord) -> tuple[Stage, str]:
        """The tests that the service, the index and the predicate make."""
        if not self.item.call.is_seen_by(self.kernel.service):
            return "local", self._why_hidden()
        if key_met(wait, self.item, self.kernel.methods) is None:
            return "key", f"its key ({', '.join(wait.shape)}) has another value."
        if wait.predicate is not None:
            verdict = verdict_of(wait.predicate, self.call)
            if isinstance(verdict, Exception):
                return "predicate", f"the match raised {type(verdict).__qualname__}: {verdict}"
            if not verdict:
                return "predicate", "the match is false."
        return "met", "it matches."

    def _why_hidden(self) -> str:
        call, kernel = self.item.call, self.kernel
        return (
            f"{call.method!r} is local_only: this call is for workflows of service {call.service!r}, "
            f"and {kernel.workflow.name!r} belongs to service {kernel.service!r}."
        )

    def of_standing(self, *, any_met: bool) -> Iterator[WaitExplained]:
        """The workflow's standing first waits for the method."""
        if not self.kernel.owns(self.started):
            return  # the member that would have the instance tells of it
        standing = self.kernel.standing
        for wait, value in zip(standing.waits, standing.values, strict=True):
            if wait.method != self.item.call.method:
                continue
            stage, reason = self._matched(wait)
            if stage == "met" and self.kernel.knows(self.started):
                continue  # told as the instance that it started
            if stage == "met" and not self.kernel.workflow.active:
                stage, reason = "active", "the workflow takes no new instances (active=False)."
            elif stage == "met" and any_met:
                stage, reason = "active", "running instances that match come before a new one."
            elif stage == "met":
                stage, reason = (
                    "active",
                    (
                        "it matches, but started nothing that is still there: the version was not "
                        "deployed yet, another version or instance had it, or what it started ended "
                        "so long ago that it was removed (history_retention)."
                    ),
                )
            yield self._said(None, stage, reason, wait, value)

    # --- saying it -----------------------------------------------------------------

    def _has_received(self, instance: Instance) -> bool:
        is_origin = instance.origin == self.item.call.id
        return is_origin or instance.mailbox.has(self.item.call.method, self.place)

    def _how_received(self, instance: Instance) -> str:
        if instance.origin == self.item.call.id:
            return "the call started this instance."
        return "the instance received it."

    def _wait_of(self, instance: Instance, wait: WaitRecord) -> Wait[Any] | None:
        """The wait as the workflow made it: what the key alone decides is not saved otherwise."""
        if wait.predicate is not None or (instance.live is None and instance.state is None):
            return None
        root = instance.live or tree_of(instance.state or b"")
        path = path_to(root, wait.id)
        leaf = None if path is None else path[-1].leaf
        return leaf.value if isinstance(leaf, WaitLeaf) else None

    def _said(
        self,
        instance: Instance | None,
        stage: Stage,
        reason: str,
        wait: WaitRecord | None = None,
        value: Wait[Any] | None = None,
    ) -> WaitExplained:
        comparisons: list[Comparison] = []
        if wait is not None:
            fields = () if value is None else value.fields
            function = None if value is None else value.predicate
            comparisons = comparisons_of(wait.predicate, fields, function, self.call)
        return WaitExplained(
            workflow=self.kernel.workflow.name,
            version=self.kernel.version,
            instance=None if instance is None else instance.id,
            wait=None if wait is None else wait.id,
            name=None if wait is None else wait.name,
            stage=stage,
            reason=reason,
            comparisons=comparisons,
        )
