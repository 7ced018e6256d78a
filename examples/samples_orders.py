"""An order is reviewed by finance; a rejected one is paid back before the customer hears of it."""

from __future__ import annotations

from raysume import Depends, push_call, step, wait, workflow
from samples_letters import Post, get_post


@push_call("orders.created", external=True)
def create(order: int, customer: str) -> bool:
    """A customer orders."""
    return order > 0 and bool(customer)


@push_call("orders.reviewed", external=True)
def review(order: int, approved: bool) -> bool:
    """Finance has looked at the order."""
    return order > 0 and approved


@push_call("orders.refunded", external=True)
def refund(order: int) -> bool:
    """Somebody did the task of paying back."""
    return order > 0


@workflow
async def order_review(post: Post = Depends(get_post)) -> str:
    """From the order to the notice for the customer."""
    created = await wait(create, name="order").match_if(lambda call: call.output)
    order, customer = created.input.order, created.input.customer
    about = f"order {order}"
    reviewed = await wait(review, name="review").match(order=order)
    if reviewed.output:
        await step(post.send, customer, about, "approved")
        return "approved"
    await step(post.send, "accounting", about, "please pay back")
    await wait(refund, name="refund").match(order=order)
    await step(post.send, customer, about, "rejected, you have your money back")
    return "refunded"
