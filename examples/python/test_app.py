"""Tests of the service with a fake, and of what is sent to iamd. No server is needed."""

from datetime import datetime, timedelta, timezone

import pytest
from fastapi.testclient import TestClient

from app import make_app
from authorizer import Authorizer, FakeAuthorizer, Question, Session, to_request, to_session, to_value

ORDER = "arn:app:orders:::order/1001/1"
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)


def ask(fake, method, path, token="alice", **options):
    headers = {"Authorization": f"Bearer {token}"}
    return TestClient(make_app(fake)).request(method, path, headers=headers, **options).status_code


def test_a_route_asks_for_its_own_action_and_resource():
    fake = FakeAuthorizer([("orders:Get", ORDER)])
    assert ask(fake, "GET", "/orders/1001/1", "customer-1001") == 200
    assert ask(fake, "GET", "/orders/1001/2") == 403
    assert fake.questions[0] == Question(
        "arn:aws:sts::111122223333:assumed-role/customer/web-1001", "orders:Get", ORDER, {}, Session({"customer": "1001"})
    )


def test_a_refund_sends_its_amount():
    fake = FakeAuthorizer([("orders:Refund", ORDER)])
    assert ask(fake, "POST", "/orders/1001/1/refund", json={"amount": 50}) == 200
    assert fake.questions[0].context == {"orders:amount": 50}
    assert fake.questions[0].session.mfa_at is not None


def test_nobody_is_asked_about_strangers_and_odd_paths():
    fake = FakeAuthorizer([("orders:Get", ORDER)])
    assert ask(fake, "GET", "/orders/1001/1", "stranger") == 401
    assert ask(fake, "GET", "/orders/1001/*") == 422
    assert fake.questions == []


def test_readiness_is_that_of_iamd():
    assert ask(FakeAuthorizer(), "GET", "/readyz") == 200
    assert ask(FakeAuthorizer(ready=False), "GET", "/readyz") == 503


def test_native_values_become_context_values():
    assert to_value("x").string_value == "x"
    assert to_value(True).WhichOneof("kind") == "bool_value"
    assert to_value(1.5).number_value == 1.5
    assert to_value(NOON).string_value == "2026-03-01T12:00:00.000Z"
    assert [item.string_value for item in to_value(["a", "b"]).list_value.values] == ["a", "b"]


@pytest.mark.parametrize("value", [None, {}, object(), [["a"]], [None], float("nan"), 2**53, datetime(2026, 3, 1)])
def test_values_that_mean_nothing_are_refused(value):
    with pytest.raises((TypeError, ValueError)):
        to_value(value)


def test_a_time_that_is_none_is_absent():
    session = to_session(Session(mfa_at=NOON))
    assert session.mfa_at.seconds == int(NOON.timestamp())
    assert not session.HasField("issued_at") and not session.HasField("expires_at")
    assert not to_request(Question("p", "a:B")).HasField("session")


@pytest.mark.parametrize("moment", [datetime.fromtimestamp(0, timezone.utc), datetime(1, 1, 1, tzinfo=timezone.utc), datetime(2026, 3, 1)])
def test_a_zero_time_and_one_without_a_zone_are_refused(moment):
    with pytest.raises(ValueError):
        to_session(Session(mfa_at=moment))


def test_what_cannot_be_asked_is_denied():
    # Nothing listens there: the refusal to ask comes first, and an error is a denial too.
    authorizer = Authorizer("127.0.0.1:1", timeout=0.2)
    assert not authorizer.is_allowed(Question("p", "a:B", context={"x": None}))
    assert not authorizer.is_allowed(Question("p", "a:B"))
    started = datetime.now()
    assert not authorizer.wait_ready(0.2)
    assert datetime.now() - started < timedelta(seconds=10)
    authorizer.close()
