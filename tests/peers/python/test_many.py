"""Batches and streams of questions from Python, Node and Go."""

import base64
import json
import os
import unittest

import grpc
from google.rpc import code_pb2
from iamd.v1 import authorization_pb2, authorization_pb2_grpc

from server import ALICE, GO_CLIENT, ORDER, PATIENCE_S, ROOT, TOOLS, ServedTest, run

N_QUESTIONS = 10_000

ACTIONS = {
    "orders:Read": "DECISION_ALLOW",
    "orders:Delete": "DECISION_DENY",
    "orders:Unknown": "DECISION_DENY",
    "": None,  # malformed
}


def questions():
    """Ten thousand questions. Each kind is among the others."""
    actions = list(ACTIONS)
    for number in range(N_QUESTIONS):
        action = actions[number % len(actions)]
        yield {"principal": ALICE, "action": action, "resource": ORDER, "request_id": str(number)}


def requests():
    return [authorization_pb2.AuthorizeRequest(**question) for question in questions()]


class Many(ServedTest):
    def setUp(self):
        self.channel = grpc.insecure_channel(self.server.address)
        self.addCleanup(self.channel.close)
        self.stub = authorization_pb2_grpc.AuthorizationServiceStub(self.channel)

    def assert_results(self, results):
        """`results` are one for each question, in their order. Each is a message."""
        decision = authorization_pb2.Decision.Name
        results = list(results)
        self.assertEqual(len(results), N_QUESTIONS)
        for question, result in zip(questions(), results):
            expected = ACTIONS[question["action"]]
            if expected is None:
                self.assertEqual(result.error.code, code_pb2.INVALID_ARGUMENT, result)
                self.assertIn("action", result.error.message)
                kinds = {detail.type_url.rsplit(".", 1)[-1] for detail in result.error.details}
                self.assertEqual(kinds, {"ErrorInfo", "BadRequest"})
            else:
                self.assertEqual(decision(result.response.decision), expected, result)
                self.assertEqual(result.response.request_id, question["request_id"])

    def test_python_asks_a_batch(self):
        batch = authorization_pb2.BatchAuthorizeRequest(requests=requests())
        answer = self.stub.BatchAuthorize(batch, timeout=PATIENCE_S)
        self.assert_results(answer.results)
        revisions = {result.response.revision for result in answer.results if result.HasField("response")}
        self.assertEqual(revisions, {answer.revision})

    def test_python_asks_a_stream(self):
        sent = (authorization_pb2.StreamAuthorizeRequest(request=request) for request in requests())
        self.assert_results(self.stub.StreamAuthorize(sent, timeout=PATIENCE_S))

    def node(self, call):
        environment = {**os.environ, "NODE_PATH": str(TOOLS / "node" / "node_modules")}
        script = ROOT / "tests" / "peers" / "node" / "many.js"
        lines = "".join(json.dumps(to_node(question)) + "\n" for question in questions())
        result = run("node", script, self.server.address, ROOT / "proto", call, env=environment, input=lines)
        self.assertEqual(result.returncode, 0, result.stderr)
        results = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual(len(results), N_QUESTIONS)
        for question, result in zip(questions(), results):
            expected = ACTIONS[question["action"]]
            if expected is None:
                self.assertEqual(result["error"]["code"], code_pb2.INVALID_ARGUMENT, result)
            else:
                self.assertEqual(result["response"]["decision"], expected, result)
                self.assertEqual(result["response"]["requestId"], question["request_id"])

    def test_node_asks_a_batch(self):
        self.node("batchAuthorize")

    def test_node_asks_a_stream(self):
        self.node("streamAuthorize")

    def go(self, method, messages):
        lines = "".join(base64.b64encode(message.SerializeToString()).decode() + "\n" for message in messages)
        result = run(GO_CLIENT, self.server.address, method, input=lines)
        self.assertEqual(result.returncode, 0, result.stderr)
        return [base64.b64decode(line) for line in result.stdout.splitlines()]

    def test_go_asks_a_batch(self):
        batch = authorization_pb2.BatchAuthorizeRequest(requests=requests())
        (answer,) = self.go("BatchAuthorize", [batch])
        self.assert_results(authorization_pb2.BatchAuthorizeResponse.FromString(answer).results)

    def test_go_asks_a_stream(self):
        sent = [authorization_pb2.StreamAuthorizeRequest(request=request) for request in requests()]
        answers = self.go("StreamAuthorize", sent)
        self.assert_results(map(authorization_pb2.StreamAuthorizeResponse.FromString, answers))


def to_node(question):
    """The same question with the names of JSON."""
    return {"requestId" if key == "request_id" else key: value for key, value in question.items()}


if __name__ == "__main__":
    unittest.main()
