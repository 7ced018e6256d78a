"""The methods that the cases of shell_workflows wait for."""

from __future__ import annotations

from pydantic import BaseModel

from raysume import external_call


class Request(BaseModel):
    """What is submitted, decided and signed."""

    id: int
    amount: int = 0


submitted = external_call("shell_cases.submitted", input=Request, output=bool)
decided = external_call("shell_cases.decided", input=Request, output=str)
signed = external_call("shell_cases.signed", input=Request, output=str)
