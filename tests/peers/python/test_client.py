"""A Python client over the real wire: answers, statuses and their details, deadlines, and bytes no client library sends."""

import os
import signal
import unittest

import grpc
from google.protobuf import struct_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from iamd.v1 import authorization_pb2, authorization_pb2_grpc

from server import ALICE, ORDER, PATIENCE_S, ServedTest

AUTHORIZE = "/iamd.v1.AuthorizationService/Authorize"


def question(**fields):
    context = fields.pop("context", {})
    request = authorization_pb2.AuthorizeRequest(
        **{"principal": ALICE, "action": "orders:Read", "resource": ORDER, **fields}
    )
    for key, value in context.items():
        request.context[key].CopyFrom(value)
    return request


def number(value):
    return struct_pb2.Value(number_value=value)


def string(value):
    return struct_pb2.Value(string_value=value)


def length_delimited(field, content):
    """One length-delimited field of the protobuf wire format, up to 127 bytes long."""
    assert len(content) < 128 and field < 16
    return bytes([field << 3 | 2, len(content)]) + content


def context_entry(key, value):
    """One entry of the `context` map, as it is on the wire."""
    return length_delimited(4, length_delimited(1, key.encode()) + length_delimited(2, value.SerializeToString()))


class Answers(ServedTest):
    def setUp(self):
        self.channel = grpc.insecure_channel(self.server.address)
        self.addCleanup(self.channel.close)
        self.stub = authorization_pb2_grpc.AuthorizationServiceStub(self.channel)

    def ask(self, **fields):
        return self.stub.Authorize(question(**fields), timeout=PATIENCE_S)

    def refusal(self, **fields):
        with self.assertRaises(grpc.RpcError) as caught:
            self.ask(**fields)
        return caught.exception

    def raw(self, message):
        """Sends `message` as it is and returns the error it gives."""
        call = self.channel.unary_unary(AUTHORIZE)
        with self.assertRaises(grpc.RpcError) as caught:
            call(message, timeout=PATIENCE_S)
        return caught.exception

    def assert_malformed(self, error, reason, field):
        """`error` is INVALID_ARGUMENT and its details name `reason` and `field`."""
        self.assertEqual(error.code(), grpc.StatusCode.INVALID_ARGUMENT, error.details())
        info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        found = set()
        for detail in rpc_status.from_call(error).details:
            for message in (info, bad_request):
                if detail.Is(message.DESCRIPTOR):
                    detail.Unpack(message)
                    found.add(message.DESCRIPTOR.name)
        self.assertEqual(found, {"ErrorInfo", "BadRequest"})
        self.assertEqual((info.domain, info.reason), ("iamd", reason))
        self.assertEqual([violation.field for violation in bad_request.field_violations], [field])

    def test_an_allow_names_its_statement_and_gives_the_request_id_back(self):
        answer = self.ask(request_id="order-77")
        self.assertEqual(answer.decision, authorization_pb2.DECISION_ALLOW)
        self.assertEqual(answer.reason, authorization_pb2.REASON_ALLOW_IDENTITY)
        self.assertEqual(answer.request_id, "order-77")
        self.assertRegex(answer.revision, "^[0-9a-f]{32}$")
        (statement,) = answer.determining_statements
        self.assertEqual(statement.policy, f"{ALICE}/inline/orders")
        self.assertEqual((statement.sid, statement.index), ("ReadOrders", 0))
        self.assertEqual(statement.type, authorization_pb2.POLICY_TYPE_IDENTITY)
        self.assertEqual(statement.file, "users/alice.json")

    def test_a_deny_is_a_successful_call(self):
        answer = self.ask(action="orders:Delete")
        self.assertEqual(answer.decision, authorization_pb2.DECISION_DENY)
        self.assertEqual(answer.reason, authorization_pb2.REASON_EXPLICIT_DENY_IDENTITY)
        self.assertEqual([statement.sid for statement in answer.determining_statements], ["KeepOrders"])

    def test_nothing_that_applies_is_an_implicit_deny_without_statements(self):
        answer = self.ask(action="orders:Archive")
        self.assertEqual(answer.decision, authorization_pb2.DECISION_DENY)
        self.assertEqual(answer.reason, authorization_pb2.REASON_IMPLICIT_DENY_IDENTITY)
        self.assertFalse(answer.determining_statements)

    def test_an_unknown_principal_is_denied_and_no_error(self):
        answer = self.ask(principal="arn:aws:iam::111122223333:user/nobody")
        self.assertEqual(answer.decision, authorization_pb2.DECISION_DENY)
        self.assertEqual(answer.reason, authorization_pb2.REASON_IMPLICIT_DENY_UNKNOWN_PRINCIPAL)

    def test_context_values_reach_the_conditions(self):
        for amount, decision in [
            (number(99.5), authorization_pb2.DECISION_ALLOW),
            (string("100"), authorization_pb2.DECISION_ALLOW),
            (number(101), authorization_pb2.DECISION_DENY),
        ]:
            with self.subTest(amount=amount):
                answer = self.ask(action="orders:Refund", context={"orders:amount": amount})
                self.assertEqual(answer.decision, decision)

    def test_an_empty_request_is_malformed(self):
        self.assert_malformed(self.raw(b""), "INVALID_REQUEST", "principal")

    def test_malformed_fields_are_named(self):
        for field, value in [("principal", "alice"), ("action", "Read"), ("resource", "order/1234")]:
            with self.subTest(field=field):
                self.assert_malformed(self.refusal(**{field: value}), "INVALID_REQUEST", field)

    def test_context_values_that_have_no_meaning_are_refused(self):
        for value in [
            struct_pb2.Value(),
            struct_pb2.Value(null_value=struct_pb2.NULL_VALUE),
            struct_pb2.Value(struct_value=struct_pb2.Struct()),
            number(2.0**53),
            number(float("nan")),
        ]:
            with self.subTest(value=value):
                error = self.refusal(context={"orders:amount": value})
                self.assert_malformed(error, "INVALID_REQUEST", 'context["orders:amount"]')

    def test_derived_keys_are_reserved(self):
        error = self.refusal(context={"aws:PrincipalArn": string(ALICE)})
        self.assert_malformed(error, "RESERVED_CONTEXT_KEY", 'context["aws:PrincipalArn"]')

    def test_keys_that_are_equal_after_case_folding_are_refused(self):
        error = self.refusal(context={"orders:Amount": number(1), "orders:amount": number(1)})
        self.assertEqual(error.code(), grpc.StatusCode.INVALID_ARGUMENT, error.details())

    def test_a_repeated_map_key_on_the_wire_is_refused(self):
        # A protobuf map keeps the last of two equal keys in silence, so no client library sends this.
        entries = context_entry("orders:amount", number(1)) + context_entry("orders:amount", number(1_000))
        for message in (question().SerializeToString() + entries, entries + question().SerializeToString()):
            self.assert_malformed(self.raw(message), "INVALID_REQUEST", 'context["orders:amount"]')

    def test_a_field_over_its_limit_is_refused(self):
        error = self.refusal(context={"orders:note": string("x" * (16 * 1024 + 1))})
        self.assert_malformed(error, "TOO_LARGE", 'context["orders:note"]')

    def test_a_message_over_the_size_limit_is_out_of_range(self):
        error = self.refusal(resource=ORDER + "x" * (5 * 1024 * 1024))
        self.assertEqual(error.code(), grpc.StatusCode.OUT_OF_RANGE, error.details())

    def test_bytes_that_are_no_message_give_an_error_and_the_connection_lives_on(self):
        error = self.raw(b"\xff\xff\xff\xff")
        self.assertIn(error.code(), (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT), error.details())
        self.assertEqual(self.ask().decision, authorization_pb2.DECISION_ALLOW)

    def test_an_unknown_call_is_unimplemented(self):
        call = self.channel.unary_unary("/iamd.v1.AuthorizationService/Allow")
        with self.assertRaises(grpc.RpcError) as caught:
            call(b"", timeout=PATIENCE_S)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNIMPLEMENTED)


class Deadlines(ServedTest):
    def test_a_frozen_server_costs_the_deadline_and_no_more(self):
        with grpc.insecure_channel(self.server.address) as channel:
            stub = authorization_pb2_grpc.AuthorizationServiceStub(channel)
            stub.Authorize(question(), timeout=PATIENCE_S)
            self.server.process.send_signal(signal.SIGSTOP)
            os.waitpid(self.server.process.pid, os.WUNTRACED)  # it may run on until it has stopped
            try:
                with self.assertRaises(grpc.RpcError) as caught:
                    stub.Authorize(question(), timeout=0.2)
            finally:
                self.server.process.send_signal(signal.SIGCONT)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
            # The late answer belonged to the call that gave up; the next call gets its own.
            answer = stub.Authorize(question(request_id="after"), timeout=PATIENCE_S)
            self.assertEqual(answer.request_id, "after")


if __name__ == "__main__":
    unittest.main()
