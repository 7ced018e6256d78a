"""All business samples in one deployment: `raysume dev examples/samples.py`.

Each is a file of its own, which can be deployed alone as well.
"""

from __future__ import annotations

from samples_invitations import invite_all
from samples_onboarding import Onboarding
from samples_orders import order_review
from samples_projects import project_approval
from samples_requests import RequestApproval
from samples_trips import book_trip
from samples_votes import board_approval

__all__ = [
    "Onboarding",
    "RequestApproval",
    "board_approval",
    "book_trip",
    "invite_all",
    "order_review",
    "project_approval",
]
