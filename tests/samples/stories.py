"""What happens in the business samples, told once: for the shell, and for a real cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import samples_invitations as invitations
import samples_onboarding as onboarding
import samples_orders as orders
import samples_projects as projects
import samples_requests as requests
import samples_votes as votes
from raysume.methods import Method
from raysume.methods import method_of as declared
from raysume.workflows import Workflow


@dataclass(frozen=True, slots=True)
class Pushed:
    """One call, and what the instance is waiting for when it is handled."""

    method: Method
    input: dict[str, Any]
    output: Any
    waits: tuple[str, ...]
    """Names of the waits that are open then; none: the instance has ended."""
    counts: tuple[int, int, int]
    """(calls, waits, completed instances) so far."""


@dataclass(frozen=True, slots=True)
class Story:
    """One course that a sample takes; its first call starts the instance.

    Every story has numbers of its own, so that all can happen on one cluster.
    """

    name: str
    workflow: Workflow[Any, Any]
    about: str
    """What its letters are about."""
    calls: tuple[Pushed, ...]
    result: Any
    letters: tuple[str, ...] = ()
    cancelled: int = 0
    """How many of its waits are cancelled."""


def _call(
    method: Any, output: Any, *, then: str, counts: tuple[int, int, int], **input: Any
) -> Pushed:
    return Pushed(declared(method), input, output, tuple(then.split()), counts)


ONBOARDING = (
    Story(
        "accepted",
        onboarding.Onboarding.run,
        "client 661",
        (
            _call(
                onboarding.registered, True, client=661, name="Ann", then="owner", counts=(1, 2, 0)
            ),
            _call(
                onboarding.decide, True, client=661, accepted=True, then="meeting", counts=(2, 3, 0)
            ),
            _call(onboarding.met, True, client=661, notes="likes tea", then="", counts=(3, 3, 1)),
        ),
        "welcomed",
        ("Ann: welcome",),
    ),
    Story(
        "rejected",
        onboarding.Onboarding.run,
        "client 662",
        (
            _call(
                onboarding.registered, True, client=662, name="Ben", then="owner", counts=(1, 2, 0)
            ),
            _call(onboarding.decide, False, client=662, accepted=False, then="", counts=(2, 2, 1)),
        ),
        "rejected",
        ("Ben: we are sorry",),
    ),
)


def _asked(request: int, text: str, then: str, counts: tuple[int, int, int]) -> Pushed:
    return _call(requests.submit, True, request=request, text=text, then=then, counts=counts)


def _decided(request: int, decision: str, then: str, counts: tuple[int, int, int]) -> Pushed:
    return _call(
        requests.decide, True, request=request, decision=decision, then=then, counts=counts
    )


REQUEST_APPROVAL = (
    Story(
        "accepted",
        requests.RequestApproval.run,
        "request 681",
        (
            _asked(681, "a chair", "decision", (1, 2, 0)),
            _decided(681, "accept", "", (2, 2, 1)),
        ),
        "accept",
        ("manager: a chair",),
    ),
    Story(
        "rejected",
        requests.RequestApproval.run,
        "request 682",
        (
            _asked(682, "a throne", "decision", (1, 2, 0)),
            _decided(682, "reject", "", (2, 2, 1)),
        ),
        "reject",
        ("manager: a throne",),
    ),
    Story(
        "more-wanted",
        requests.RequestApproval.run,
        "request 683",
        (
            _asked(683, "a chair", "decision", (1, 2, 0)),
            _decided(683, "more", "resubmission", (2, 3, 0)),
            _asked(683, "a red chair", "decision", (3, 4, 0)),
            _decided(683, "accept", "", (4, 4, 1)),
        ),
        "more,accept",
        ("manager: a chair", "manager: a red chair"),
    ),
)


def _ordered(order: int) -> Pushed:
    return _call(orders.create, True, order=order, customer="ann", then="review", counts=(1, 2, 0))


ORDERS = (
    Story(
        "approved",
        orders.order_review,
        "order 691",
        (
            _ordered(691),
            _call(orders.review, True, order=691, approved=True, then="", counts=(2, 2, 1)),
        ),
        "approved",
        ("ann: approved",),
    ),
    Story(
        "refunded",
        orders.order_review,
        "order 692",
        (
            _ordered(692),
            _call(orders.review, False, order=692, approved=False, then="refund", counts=(2, 3, 0)),
            _call(orders.refund, True, order=692, then="", counts=(3, 3, 1)),
        ),
        "refunded",
        ("accounting: please pay back", "ann: rejected, you have your money back"),
    ),
)


def _project(
    project: int, title: str, then: str, counts: tuple[int, int, int], *, again: bool = False
) -> Pushed:
    return _call(
        projects.submit,
        True,
        project=project,
        title=title,
        is_resubmit=again,
        then=then,
        counts=counts,
    )


def _said(project: int, accepted: bool, then: str, counts: tuple[int, int, int]) -> Pushed:
    return _call(
        projects.answer, accepted, project=project, accepted=accepted, then=then, counts=counts
    )


# Each answer is waited for by a subflow, which counts as a wait too.
PROJECT_APPROVAL = (
    Story(
        "accepted-at-once",
        projects.project_approval,
        "",
        (
            _project(701, "a bridge", "manager", (1, 3, 0)),
            _said(701, True, "", (2, 3, 1)),
        ),
        "a bridge",
    ),
    Story(
        "rejected-twice",
        projects.project_approval,
        "",
        (
            _project(702, "a bridge", "manager", (1, 3, 0)),
            _said(702, False, "resubmission", (2, 4, 0)),
            _project(709, "of others", "resubmission", (3, 4, 0), again=True),
            _project(702, "a small bridge", "manager", (4, 6, 0), again=True),
            _said(702, False, "resubmission", (5, 7, 0)),
            _project(702, "a ferry", "manager", (6, 9, 0), again=True),
            _said(702, True, "", (7, 9, 1)),
        ),
        "a ferry",
    ),
)


def _invited(project: int) -> Pushed:
    return _call(
        invitations.invite,
        True,
        project=project,
        then="manager owner sponsor",
        counts=(1, 5, 0),
    )


def _reply(
    project: int, who: str, accepts: bool, then: str, counts: tuple[int, int, int]
) -> Pushed:
    return _call(
        invitations.answer,
        accepts,
        project=project,
        who=who,
        accepts=accepts,
        then=then,
        counts=counts,
    )


INVITE_ALL = (
    Story(
        "all-accept",
        invitations.invite_all,
        "invitation 721",
        (
            _invited(721),
            _reply(721, "owner", True, "manager sponsor", (2, 5, 0)),
            _reply(721, "manager", True, "sponsor", (3, 5, 0)),
            _reply(721, "sponsor", True, "", (4, 5, 1)),
        ),
        "approved",
        ("everybody: approved",),
    ),
    Story(
        "one-rejects",
        invitations.invite_all,
        "invitation 722",
        (
            _invited(722),
            _reply(722, "manager", True, "owner sponsor", (2, 5, 0)),
            _reply(722, "owner", False, "", (3, 5, 1)),
        ),
        "called off",
        ("manager: called off", "sponsor: called off"),
        cancelled=1,
    ),
)


def _approved(motion: int, who: str, then: str, counts: tuple[int, int, int]) -> Pushed:
    return _call(votes.approve, True, motion=motion, who=who, then=then, counts=counts)


N_OF_M = (
    Story(
        "two-of-four",
        votes.board_approval,
        "",
        (
            _call(votes.move, True, motion=741, then="ann ben cem dan", counts=(1, 6, 0)),
            _approved(741, "cem", "ann ben dan", (2, 6, 0)),
            _approved(741, "ann", "", (3, 6, 1)),
        ),
        ["cem", "ann"],
        cancelled=2,
    ),
)

ALL = (*ONBOARDING, *REQUEST_APPROVAL, *ORDERS, *PROJECT_APPROVAL, *INVITE_ALL, *N_OF_M)
