"""A small order service that asks iamd before it acts. It listens on 127.0.0.1 at PORT and asks iamd at IAMD_ADDRESS."""

import os
from datetime import datetime, timezone
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Path
from pydantic import BaseModel, Field

from authorizer import Authorizer, FakeAuthorizer, Question, Session

# Who somebody is comes from your own authentication. These tokens stand for it.
CALLERS = {
    "alice": ("arn:aws:iam::111122223333:user/support/alice", Session(mfa_at=datetime.now(timezone.utc))),
    "alice-without-mfa": ("arn:aws:iam::111122223333:user/support/alice", None),
    "customer-1001": (
        "arn:aws:sts::111122223333:assumed-role/customer/web-1001",
        Session(tags={"customer": "1001"}),
    ),
}

# Parts of an ARN are checked before they become one, so that no caller writes ARNs of their own.
Id = Annotated[str, Path(pattern=r"^[0-9]{1,12}$")]


class Refund(BaseModel):
    amount: float = Field(strict=True, allow_inf_nan=False)


def caller(authorization: Annotated[str, Header()] = ""):
    """The principal and the session behind the request."""
    known = CALLERS.get(authorization.removeprefix("Bearer "))
    if known is None:
        raise HTTPException(401)
    return known


Caller = Annotated[tuple[str, Session | None], Depends(caller)]


def make_app(authorizer: Authorizer | FakeAuthorizer) -> FastAPI:
    app = FastAPI()

    def require(caller, action, resource, context=None):
        principal, session = caller
        if not authorizer.is_allowed(Question(principal, action, resource, context or {}, session)):
            raise HTTPException(403)

    # These functions are not `async`, so FastAPI runs each in a thread and may wait for iamd there.
    @app.get("/orders/{customer}/{number}")
    def read_order(customer: Id, number: Id, caller: Caller):
        require(caller, "orders:Get", f"arn:app:orders:::order/{customer}/{number}")
        return {"customer": customer, "number": number}

    @app.post("/orders/{customer}/{number}/refund")
    def refund_order(customer: Id, number: Id, refund: Refund, caller: Caller):
        resource = f"arn:app:orders:::order/{customer}/{number}"
        require(caller, "orders:Refund", resource, context={"orders:amount": refund.amount})
        return {"refunded": refund.amount}

    @app.get("/readyz")
    def ready():
        if not authorizer.wait_ready(0.5):
            raise HTTPException(503)
        return {"ready": True}

    return app


if __name__ == "__main__":
    authorizer = Authorizer(os.environ.get("IAMD_ADDRESS", "127.0.0.1:50051"))
    uvicorn.run(make_app(authorizer), host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
