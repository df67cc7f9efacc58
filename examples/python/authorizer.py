"""Asks iamd whether a principal may do something. Copy this file into your service.

`Authorizer.is_allowed` is true only if iamd said so: an error, a timeout and an answer that makes no sense are denials.
"""

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

import grpc
from google.protobuf.struct_pb2 import ListValue, Value
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc

from iamd.v1 import authorization_pb2, authorization_pb2_grpc

log = logging.getLogger(__name__)

# From here on not every integer is a double, and iamd refuses what it would have to round. Send such a number as text.
TOO_LARGE = 2**53


@dataclass(frozen=True)
class Session:
    """What is known of the principal's session. A time that is `None` did not happen, or is not known."""

    tags: Mapping[str, str] = field(default_factory=dict)
    source_identity: str = ""
    issued_at: datetime | None = None
    expires_at: datetime | None = None
    mfa_at: datetime | None = None


@dataclass(frozen=True)
class Question:
    """May this principal do this action on this resource? Context values are str, bool, int, float, datetime, or lists."""

    principal: str
    action: str
    resource: str = "*"
    context: Mapping[str, object] = field(default_factory=dict)
    session: Session | None = None


class Authorizer:
    """A connection to iamd at `127.0.0.1:50051` or `unix:/run/iamd/iamd.sock`.

    Make one for the life of the program and share it between threads: it connects again on its own. An answer that takes
    longer than `timeout` seconds is a denial.
    """

    def __init__(self, address: str, timeout: float = 0.5):
        options = [
            # A sidecar is never behind a proxy, whatever `http_proxy` says.
            ("grpc.enable_http_proxy", 0),
            # Over a Unix socket the default authority would be the socket's path, which HTTP does not allow.
            ("grpc.default_authority", "localhost"),
            # The default waits up to two minutes before it connects again to an iamd that was restarted.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
        ]
        self._timeout = timeout
        self._channel = grpc.insecure_channel(address, options=options)
        self._iamd = authorization_pb2_grpc.AuthorizationServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def is_allowed(self, question: Question) -> bool:
        """True only if iamd allows it. Never raises: whatever goes wrong is logged and is a denial."""
        try:
            answer = self._iamd.Authorize(to_request(question), timeout=self._timeout)
            return answer.decision == authorization_pb2.DECISION_ALLOW
        except grpc.RpcError as error:
            log.error("denied without a decision: %s: %s", error.code().name, error.details())
        except Exception:
            log.exception("denied without a decision")
        return False

    def wait_ready(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds for an iamd that answers questions, and returns whether there is one."""
        try:
            request = health_pb2.HealthCheckRequest()
            for answer in self._health.Watch(request, timeout=timeout, wait_for_ready=True):
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return True
        except grpc.RpcError:
            pass
        return False

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()


class FakeAuthorizer:
    """Stands in for an `Authorizer` in unit tests: allows the given pairs of action and resource, and nothing else.

    `questions` holds what it was asked.
    """

    def __init__(self, allowed: Iterable[tuple[str, str]] = (), ready: bool = True):
        self.allowed = set(allowed)
        self.ready = ready
        self.questions: list[Question] = []

    def is_allowed(self, question: Question) -> bool:
        self.questions.append(question)
        to_request(question)  # a test should fail where iamd could not be asked
        return (question.action, question.resource) in self.allowed

    def wait_ready(self, timeout: float) -> bool:
        return self.ready

    def close(self) -> None:
        pass


def to_request(question: Question) -> authorization_pb2.AuthorizeRequest:
    """The question as iamd reads it. Raises TypeError or ValueError for values that have no meaning there."""
    request = authorization_pb2.AuthorizeRequest(
        principal=question.principal, action=question.action, resource=question.resource
    )
    for key, value in question.context.items():
        request.context[key].CopyFrom(to_value(value))
    if question.session is not None:
        request.session.CopyFrom(to_session(question.session))
    return request


def to_session(session: Session) -> authorization_pb2.SessionContext:
    """The session as iamd reads it."""
    message = authorization_pb2.SessionContext(tags=dict(session.tags), source_identity=session.source_identity)
    for name in ("issued_at", "expires_at", "mfa_at"):
        moment = getattr(session, name)
        if moment is not None:
            getattr(message, name).CopyFrom(to_timestamp(name, moment))
    return message


def to_timestamp(name: str, moment: datetime) -> Timestamp:
    """A time of a session. One without a time zone is refused, and so is zero, which is never a real time here."""
    if moment.utcoffset() is None:
        raise ValueError(f"{name} has no time zone")
    if moment.timestamp() <= 0:
        raise ValueError(f"{name} is zero: leave it None if there is none")
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def to_value(value: object) -> Value:
    """A context value as iamd reads it."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return Value(list_value=ListValue(values=[to_scalar(item) for item in value]))
    return to_scalar(value)


def to_scalar(value: object) -> Value:
    """A context value that is no list."""
    match value:
        case bool():  # before int, because a bool is one
            return Value(bool_value=value)
        case str():
            return Value(string_value=value)
        case int() | float():
            if not math.isfinite(value) or abs(value) >= TOO_LARGE:
                raise ValueError(f"{value} is not a number below 2^53: send it as text")
            return Value(number_value=value)
        case datetime():
            if value.utcoffset() is None:
                raise ValueError(f"{value} has no time zone")
            return Value(string_value=value.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z"))
    raise TypeError(f"{type(value).__name__} cannot be a context value")
